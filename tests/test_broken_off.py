"""A file that broke off is known to have: its last chunk is missing, whether the API sent it or a page passed it on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from flask import Flask
from starlette.types import Receive, Scope, Send

from api import contract, operations
from api.app import CONTRACT
from api.calls import Answer
from api.events import Events
from api.front import Front
from api.pages import session, whole
from api.processes.connection import Connection
from api.split import split
from db.engine import StorageUnavailable
from tests.proxy import wait
from tests.service import free_port

AGREED = contract.read(CONTRACT, 10)


def _pieces() -> Iterator[bytes]:
    yield b"id\r\n1\r\n"
    raise StorageUnavailable("the database went away")


async def _api(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as an operation whose rows can be read up to a point."""
    answer = Answer(content=_pieces(), media_type="text/csv")
    await operations._stream(receive, send, answer, {}, is_head=False)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve that operation, and a page that hands a file over to it, on a port."""
    pages = Flask("here")
    monkeypatch.setattr(whole, "read", lambda *_args, **_asked: None)
    monkeypatch.setattr(session, "token", lambda: "t")
    pages.add_url_rule("/console", view_func=lambda: whole.whole("/v1/predictions", {}, "predictions"))
    events = cast(Events, SimpleNamespace(note=lambda _event: None))
    app: Any = Front(split(_api, pages, AGREED), AGREED, events, lambda: 0)
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, http=Connection, lifespan="off", log_config=None, access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    wait(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("path", ["/v1/predictions", "/console"])
def test_a_file_that_broke_off_is_no_whole_one(door: str, path: str) -> None:
    """The status and the first rows have left when the database goes away: the client sees that the rest is missing."""
    with httpx.stream("GET", f"{door}{path}") as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            list(pieces)

    assert (answer.status_code, first) == (200, b"id\r\n1\r\n")
