"""Ports of the loopback for servers that must be told theirs."""

from __future__ import annotations

import fcntl
import random
import socket
from io import TextIOWrapper

from tests.support.locks import lock_path

RANGE = range(20_000, 30_000)
"""Below the ports that the kernel gives to outgoing connections (32768 and up on Linux) and below NodePorts.

A port that the kernel chose for `bind(0)` is one that it may give to a connection before the server listens on it.
"""

_held: list[TextIOWrapper] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other call gives while this process lives."""
    for port in random.sample(RANGE, len(RANGE)):
        claim = lock_path(f"port-{port}").open("w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                # As servers do: a port whose last connections are only waited out is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _held.append(claim)
        return port
    raise OSError(f"ports {RANGE.start} to {RANGE.stop - 1} are all in use")
