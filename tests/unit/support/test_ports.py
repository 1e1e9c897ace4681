"""Ports that tests' servers are told."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ports

LOCAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_a_port_is_given_once() -> None:
    given = [ports.free_port() for _ in range(200)]
    ask = "from tests.support import ports; print(*(ports.free_port() for _ in range(200)))"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert len({*given, *map(int, told.split())}) == 400


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "RANGE", range(taken, taken + 1))
        with pytest.raises(OSError, match="all in use"):
            ports.free_port()


def test_no_outgoing_connection_takes_one() -> None:
    """`bind(0)` chooses from the connections' range: a server that is told such a port may find it taken."""
    first, last = map(int, LOCAL.read_text().split())
    assert ports.RANGE.stop <= first <= last
