"""How OpenMP's threads wait for each other, set before torch is loaded: libgomp reads its environment once."""

import os


def spin_briefly() -> None:
    """Let a thread that waits spin for some microseconds and then sleep, unless GOMP_SPINCOUNT says otherwise.

    By default it spins for milliseconds, and on a shared or limited CPU takes the time of those that work. Milliseconds
    for a training step of the tiny model with two threads on two cores: default 233 alone and 3004 beside another
    training; OMP_WAIT_POLICY=PASSIVE 387 and 653; a spin count of 500 to 1000: 243 and 392.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
