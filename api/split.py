"""One door out of two applications: the API for the contract's addresses, the pages for everything else."""

from __future__ import annotations

from typing import Any, cast

from a2wsgi import WSGIMiddleware
from flask import Flask
from starlette.types import ASGIApp, Receive, Scope, Send

from api.contract import Contract

PAGE_THREADS = 8


def split(api: ASGIApp, pages: Flask, contract: Contract) -> ASGIApp:
    """Send a request where its first path segment belongs; start-up and shutdown belong to the API."""
    ours = {path.split("/", 2)[1] for path in contract.document["paths"]}
    # a2wsgi writes its ASGI types more narrowly than starlette does; the protocol is the same.
    flask = cast(ASGIApp, WSGIMiddleware(cast(Any, pages), workers=PAGE_THREADS))

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path.lstrip("/").split("/", 1)[0] not in ours:
                await flask(scope, receive, send)
                return
        await api(scope, receive, send)

    return door
