"""The real nginx with deploy/nginx.conf as it is shipped, in front of a stand-in that remembers what reached it.

What is replaced in the file, and nothing else: the folder of its temporary files and its log, the address it listens
on, the addresses of the doors; and where a test says so, the timeouts it would have to sit through.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.composed import ROOT
from tests.service import free_port

CONF = (ROOT / "deploy/nginx.conf").read_text()
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
BODY_LIMIT = 8 << 20  # client_max_body_size
AS_SHIPPED: Mapping[str, str] = {}
HURRIED = {
    "client_header_timeout     10s": "client_header_timeout 1s",
    "client_body_timeout       10s": "client_body_timeout 1s",
    "proxy_read_timeout    30s": "proxy_read_timeout 2s",
}


class StandIn(socketserver.ThreadingTCPServer):
    """A door that remembers every request as it came and answers with it, or as its path asks."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.go_on = threading.Event()

    @property
    def port(self) -> int:
        """Say where it listens."""
        return int(self.server_address[1])

    @contextlib.contextmanager
    def serving(self) -> Iterator[StandIn]:
        """Serve for the length of a block; then let go of whoever still waits."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            self.shutdown()
            thread.join()
            self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    server: StandIn

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline().decode():
            headers: dict[str, str] = {}
            while header := self.rfile.readline().decode().strip():
                name, _, text = header.partition(":")
                headers[name.lower()] = text.strip()
            body = self.rfile.read(int(headers.get("content-length", 0)))
            self.server.seen.append((line.strip(), headers, body))
            if not self._answer(line):
                return

    def _answer(self, line: str) -> bool:
        """Answer one request; False ends the connection."""
        if "/gone" in line:
            return False
        if "/silent" in line:
            self.server.go_on.wait(10)
            return False
        if "/v1/predictions" in line:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\nfirst\n")
            self.server.go_on.wait(60)
            self.wfile.write(b"second\n")
            return False
        status, body = ("418 No", b'{"own": true}') if "/refused" in line else ("200 OK", line.encode())
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nX-Own: yes\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)
        return True


def configuration(folder: Path, port: int, doors: tuple[int, ...], changed: Mapping[str, str]) -> str:
    """Write nginx.conf for this machine; each replacement must find its text, so that none is lost silently."""
    replacements = {
        "/tmp/": f"{folder}/",
        "/dev/stdout": f"{folder}/access.log",
        "listen 8080 default_server": f"listen 127.0.0.1:{port} default_server",
        "server doors:8080 max_fails=0;": "".join(f"server 127.0.0.1:{door} max_fails=0;" for door in doors),
    }
    text = CONF
    for old, new in {**replacements, **changed}.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def nginx(folder: Path, *doors: int, changed: Mapping[str, str] = AS_SHIPPED) -> Iterator[int]:
    """Run nginx in the foreground until the block ends; gives its port."""
    if not Path(NGINX).exists():
        from tests.conftest import must_have

        must_have("nginx")
    port = free_port()
    (folder / "nginx.conf").write_text(configuration(folder, port, doors, changed))
    # Started by root, nginx would give its workers to a user who cannot enter a test's folder.
    as_root = ["-g", "user root;"] if os.geteuid() == 0 else []
    with (folder / "error.log").open("wb") as errors:
        server = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", *as_root], stderr=errors)
    try:
        wait(lambda: listens(port) or server.poll() is not None)
        assert server.poll() is None, (folder / "error.log").read_text()
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def wait(done: Callable[[], object], seconds: float = 60) -> None:
    """Look again and again until it is so."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Say whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Answer:
    """An answer read whole."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def problem(self) -> tuple[int, str]:
        """Read a problem in the service's shape: its status, which the body repeats, and its type."""
        assert self.headers["Content-Type"] == "application/problem+json"
        content = json.loads(self.body)
        assert content["status"] == self.status
        assert content.keys() == {"type", "title", "status", "detail"}
        return self.status, content["type"]


def ask(
    port: int, path: str, *, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask as a well-behaved client does, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        return Answer(connection.getresponse())


def send(port: int, raw: bytes) -> Answer:
    """Send bytes as they are and read one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(raw)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        return Answer(answer)


def seconds_until_cut(line: socket.socket, drip: bytes = b"") -> float:
    """Send a byte from time to time, if any, until the other side has closed without a word."""
    started = time.monotonic()
    line.settimeout(0.2)
    while time.monotonic() - started < 10:
        with contextlib.suppress(TimeoutError):
            try:
                line.sendall(drip)
                assert line.recv(1) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass
            return time.monotonic() - started
    return float("inf")
