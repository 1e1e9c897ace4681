"""OpenMP: how its threads wait for each other, and where its library is. To be called before torch is loaded."""

import importlib.util
import os
from pathlib import Path

from speechless.cpus import limited_cpus

LIBRARY = "libgomp.so.1"
"""GNU's OpenMP: a part of GCC, and a package of its own (Debian: libgomp1)."""


def settle_threads() -> None:
    """No more threads than this process may use CPUs, and those that wait sleep soon; what is set already stays.

    A control group limits time, and a library counts CPUs: with more threads than that, all of them are stopped
    together again and again. (OMP_NUM_THREADS; the processes that this one starts get it, too.)

    A thread that waits spins for some microseconds and then sleeps (GOMP_SPINCOUNT). By default it spins for
    milliseconds, and on a shared or limited CPU takes the time of those that work. Milliseconds for a training step of
    the tiny model with two threads on two cores: default 233 alone and 3004 beside another training;
    OMP_WAIT_POLICY=PASSIVE 387 and 653; a spin count of 500 to 1000: 243 and 392.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if cpus := limited_cpus():
        os.environ.setdefault("OMP_NUM_THREADS", str(cpus))


def provide() -> None:
    """Load libgomp for a package that expects it from the system, where the system has none: torch brings one.

    A library that is loaded already serves whoever asks for one of its name (dlopen(3)). torch is not imported for it.
    """
    import ctypes

    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        torch = importlib.util.find_spec("torch")
        for folder in (torch and torch.submodule_search_locations) or ():
            file = Path(folder, "lib", LIBRARY)
            if file.is_file():
                ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
