"""One door as a process: uvicorn around the app, on sockets that somebody else bound."""

from __future__ import annotations

import gc
import signal
import socket
import threading
from collections.abc import Sequence

import uvicorn

from api.app import create_door
from api.processes.connection import Connection, Server
from api.processes.watching import STOPPING, stop_oneself_when_gone
from api.settings import Settings

KEEP_ALIVE_S = (
    30  # longer than uvicorn's 5: proxies reuse connections, and a fresh one costs more than an open one
)

NEW_OBJECTS = 50_000  # between two looks for cycles; 700 unless told, which is a few requests


def run(settings: Settings, descriptors: Sequence[int], lifeline: int | None) -> None:
    """Serve until SIGTERM or until the lifeline's other end is gone; then finish what was taken and return."""
    app = create_door(settings)
    # What stays for as long as the door lives is looked through no more, and what a request leaves behind less often:
    # a tenth of a door's processor time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if lifeline is not None:
        threading.Thread(target=stop_oneself_when_gone, args=(lifeline,), daemon=True).start()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Connection,  # on httptools, never h11: that takes a length and chunks at once, and bare line feeds
        ws="none",
        lifespan="on",
        root_path=settings.root_path,
        log_config=None,
        log_level=None,  # api/logs.py has decided
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
    )
    for number in STOPPING:
        # uvicorn catches these, drains, and then raises them once more: ending well must not look like being killed.
        signal.signal(number, signal.SIG_IGN)
    Server(config).run(sockets=sockets)
