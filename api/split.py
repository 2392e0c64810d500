"""One door out of two applications: the API for the contract's addresses, the pages for everything else."""

from __future__ import annotations

from typing import Any, cast

from a2wsgi import WSGIMiddleware
from flask import Flask
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.contract import Contract
from api.operations import read_body
from api.pages.whole import passing
from api.problems import RequestRefused

PAGE_THREADS = 8
PAGE_BODY_BYTES = 256 << 10  # the largest form, many times over


def split(api: ASGIApp, pages: Flask, contract: Contract) -> ASGIApp:
    """Send a request where its first path segment belongs; start-up and shutdown belong to the API."""
    ours = {path.split("/", 2)[1] for path in contract.document["paths"]}
    # a2wsgi writes its ASGI types more narrowly than starlette does; the protocol is the same.
    flask = cast(ASGIApp, WSGIMiddleware(cast(Any, pages), workers=PAGE_THREADS))

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path.lstrip("/").split("/", 1)[0] not in ours:
                await passing(flask, api, scope, await _whole(scope, receive), send)
                return
        await api(scope, receive, send)

    return door


async def _whole(scope: Scope, receive: Receive) -> Receive:
    """Have the whole body before a page gets one of its few threads, so that nobody who is slow can hold them.

    Raises:
        RequestRefused: `too-large`, or `request-timeout`.
    """
    length = int(dict(scope["headers"]).get(b"content-length", b"0"))
    if length > PAGE_BODY_BYTES:
        raise RequestRefused("too-large", f"send at most {PAGE_BODY_BYTES} bytes", Connection="close")
    body = await read_body(receive, length, PAGE_BODY_BYTES) if length else b""
    given_once = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def given() -> Message:
        return next(given_once, None) or await receive()

    return given
