"""A whole table as a file: the API's own CSV, passed on by the door as it comes.

A page runs on one of a few threads, and a file takes as long as its reader likes. So the page only says what is to be
asked, with the visitor's token; the door then asks in its place, holds no more than a piece, and stops where the reader
leaves. A file that broke off has no last chunk: the browser says that the download failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Response, request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.pages import session
from api.pages.calling import read

CSV = "text/csv"
_INSTEAD = "onrecord-instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What is to be asked in the place of a page, and how the file is called."""

    path: str
    query: Mapping[str, str]
    token: str
    name: str


def whole(path: str, query: Mapping[str, str], name: str) -> Response:
    """Answer with everything that the API finds; what is wrong with the question is raised here, as for a page."""
    read(path, limit=1, **query)
    asked = Whole(path=path, query=query, token=session.token(), name=name)
    request.environ["asgi.scope"]["extensions"][_INSTEAD] = asked
    return Response()


async def passing(pages: ASGIApp, api: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let a page answer, or the API where the page says so."""
    extensions = scope["extensions"]

    async def held(message: Message) -> None:
        if _INSTEAD not in extensions:
            await send(message)

    await pages(scope, receive, held)
    if (asked := extensions.get(_INSTEAD)) is not None:
        await api(_asked(scope, asked), receive, _named(send, asked.name))


def _asked(scope: Scope, asked: Whole) -> dict[str, Any]:
    path = scope.get("root_path", "") + asked.path
    kept = [pair for pair in scope["headers"] if pair[0] == b"host"]
    headers = [(b"accept", CSV.encode()), (b"authorization", f"Bearer {asked.token}".encode())]
    return {
        **scope,
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(asked.query).encode(),
        "headers": kept + headers,
        "extensions": {},
    }


def _named(send: Send, name: str) -> Send:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            given = (b"content-disposition", f'attachment; filename="{name}.csv"'.encode())
            message = {**message, "headers": [*message["headers"], given]}
        await send(message)

    return named
