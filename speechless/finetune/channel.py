"""What the process that trains and the one that started it say to each other: JSON lines over a socket.

To the starter: `progress`, `log`, `settled` (all was read, the first step comes next), `keep` (a checkpoint is written:
declare it whole), and at the end `done` or `failed`. To the trainer: `stop`, `known` (it may begin), `kept`. Each line
is an object with one key. The end of the connection ends the trainer: it never outlives who started it.
"""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any


class Channel:
    """One end. `send` may be called from any thread, `receive` from one."""

    def __init__(self, connected: socket.socket) -> None:
        """Take a connected stream socket, which this object closes."""
        self._socket = connected
        self._lock = threading.Lock()
        self._buffer = b""

    def send(self, name: str, value: Any = None) -> None:
        """Say one thing; OSError if nobody is there."""
        line = json.dumps({name: value}).encode() + b"\n"
        with self._lock:
            self._socket.sendall(line)

    def receive(self, timeout: float | None = None) -> Iterator[tuple[str, Any]]:
        """What was said, as far as it is here, waiting `timeout` seconds for the first (None: for ever).

        EOFError once the other end is gone and everything it said was given out.
        """
        self._socket.settimeout(timeout)
        try:
            read = self._socket.recv(65536)
        except TimeoutError:
            return
        except ConnectionError:
            read = b""
        finally:
            self._socket.settimeout(None)
        if not read:
            raise EOFError("the other end of the channel is gone")
        *lines, self._buffer = (self._buffer + read).split(b"\n")
        for line in lines:
            ((name, value),) = json.loads(line).items()
            yield name, value

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
