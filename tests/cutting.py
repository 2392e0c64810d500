"""A line to PostgreSQL that breaks where a test wants it to: at any byte of the exchange around a COMMIT.

The writer speaks TCP to this proxy, the proxy speaks to the server's unix socket. It passes everything on until the
first COMMIT after a `Break` was set; that exchange breaks, and later connections are whole again.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # a simple query, as libpq sends it
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00Z\x00\x00\x00\x05I"
_AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time: close with RST


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """How the next COMMIT breaks: so many bytes of the question, or of the answer, pass."""

    asked: int = len(COMMIT)
    answered: int = 0
    how: str = "close"  # both ends, or "reset"; or "silence": nobody hears any more, and nobody is told
    is_for_good: bool = False  # nobody is let through afterwards, until the line is mended


class Line:
    """Listens, connects, copies; breaks when it is time."""

    def __init__(self, server: Path) -> None:
        self.server = server
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.next: Break | None = None
        self.broken = 0
        self.is_down = False
        self.ends: list[socket.socket] = []

    @property
    def port(self) -> int:
        """Say where it listens."""
        return int(self.listening.getsockname()[1])

    def url(self, database: str) -> str:
        """Name a database as reached through this line."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def serve(self) -> None:
        """Take connections until the listening socket is shut."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                if self.is_down:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.server))
                self.ends += [client, server]
                passing = _Passing(self, client, server)
                threading.Thread(target=passing.questions, daemon=True).start()
                threading.Thread(target=passing.answers, daemon=True).start()

    def mend(self) -> None:
        """Let everybody through again."""
        self.is_down = False


class _Passing:
    """One connection."""

    def __init__(self, line: Line, client: socket.socket, server: socket.socket) -> None:
        self.line, self.client, self.server = line, client, server
        self.breaking: Break | None = None

    def questions(self) -> None:
        """Copy what the client says."""
        with contextlib.suppress(OSError):
            while data := self.client.recv(1 << 16):
                if self.line.next is not None and data.endswith(COMMIT):
                    self.breaking, self.line.next = self.line.next, None
                    self.line.broken += 1
                    self.line.is_down = self.breaking.is_for_good
                    self.server.sendall(data[: len(data) - len(COMMIT) + self.breaking.asked])
                    if self.breaking.asked < len(COMMIT):
                        self.end()
                    return
                self.server.sendall(data)
        self.hang_up()

    def answers(self) -> None:
        """Copy what the server says, of the answer to a COMMIT only as much as may pass."""
        answer = b""
        with contextlib.suppress(OSError):
            while data := self.server.recv(1 << 16):
                if self.breaking is None:
                    self.client.sendall(data)
                    continue
                answer += data
                if len(answer) >= len(COMMITTED):
                    self.client.sendall(answer[: self.breaking.answered])
                    self.end()
                    return
        if self.breaking is None:
            self.hang_up()

    def end(self) -> None:
        """End the connection on both sides as it was told to."""
        assert self.breaking is not None
        if self.breaking.how == "silence":
            return
        if self.breaking.how == "reset":
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.server.close()
            self.client.close()
            return
        self.hang_up()

    def hang_up(self) -> None:
        """End both sides as a process does that ends."""
        for end in (self.server, self.client):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def line_to(folder: Path) -> Iterator[Line]:
    """Run a line to the server whose socket is in a folder."""
    line = Line(folder / ".s.PGSQL.5432")
    thread = threading.Thread(target=line.serve)
    thread.start()
    try:
        yield line
    finally:
        line.listening.shutdown(socket.SHUT_RDWR)
        line.listening.close()
        thread.join()
        for end in line.ends:
            end.close()
