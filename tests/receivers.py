"""A receiver of webhooks: a real HTTP server that answers as it was told to, and remembers what it got."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = bytes(range(24))
WRITTEN = "whsec_" + base64.b64encode(SECRET).decode()


@dataclass
class Receiver:
    """Gives these statuses in their order, and 204 from then on."""

    statuses: list[int]
    url: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def wait(self, times: int) -> None:
        """Wait until so many requests have come."""
        for _ in range(times):
            assert self.arrived.acquire(timeout=60)


@contextlib.contextmanager
def receiving(statuses: Sequence[int] = ()) -> Iterator[Receiver]:
    """Listen on a free port of this machine."""
    receiver = Receiver(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(
                (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            )
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            receiver.arrived.release()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
