"""One question to the engine and its answer, for commands and the supervisor; blocking, unlike `line`."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api import wire


class NoEngine(Exception):
    """No engine answers on its socket."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"no engine answers on {path} ({reason}); start one: python -m api serve")


class NobodyListens(NoEngine):
    """Nothing was sent, so asking again is safe."""


def ask(path: Path, head: Mapping[str, Any], body: bytes = b"", *, within_s: float = 10.0) -> wire.Frame:
    """Send one frame over a connection of its own and wait for its answer.

    Raises:
        NobodyListens: nothing was sent.
        NoEngine: the answer did not come in time; it is unknown what was done.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within_s)
        try:
            connection.connect(str(path))
        except OSError as refused:
            raise NobodyListens(path, str(refused.strerror or refused)) from refused
        try:
            connection.sendall(wire.encode(1, head, body))
            splitter = wire.Splitter(wire.ANSWER_BYTES)
            while data := connection.recv(wire.READ_BYTES):
                for frame in splitter.feed(data):
                    return frame
        except OSError as refused:
            raise NoEngine(path, str(refused.strerror or refused)) from refused
    raise NoEngine(path, "it closed the connection")
