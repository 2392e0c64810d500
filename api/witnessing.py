"""A witness over HTTP, for another team's host: a small ASGI application, and nothing of the service in it.

POST /add-checkpoint   C2SP tlog-witness: cosign what a log has grown to
GET  /checkpoint       `?origin=…`: the newest checkpoint cosigned of that log, for whoever compares
GET  /health/live

A refusal is one line of text that says why. Bodies are bounded before they are read.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from db.engine import StorageUnavailable
from db.notes import NoteRefused
from db.submissions import MAX_SUBMISSION
from db.witness import NotGrown, NotSigned, OtherSize, UnknownLog, Witness

BODY_S = 10.0  # for a whole body: what comes more slowly is not a log
_SIZE = "text/x.tlog.size"
STATUSES: dict[type[Exception], int] = {
    NoteRefused: 400,
    NotSigned: 403,
    UnknownLog: 404,
    TimeoutError: 408,
    OtherSize: 409,
    NotGrown: 422,
    StorageUnavailable: 503,
}
log = structlog.get_logger()


class _TooLarge(Exception):
    """The body is larger than any submission can be."""


def create_app(witness: Witness) -> Starlette:
    """Serve this witness."""

    async def add(request: Request) -> Response:
        data = await _body(request)
        line = await run_in_threadpool(witness.add, data)
        return Response(line, media_type="text/plain; charset=utf-8")

    async def seen(request: Request) -> Response:
        note = await run_in_threadpool(witness.seen, request.query_params.get("origin", ""))
        return Response(note, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})

    async def live(_request: Request) -> Response:
        return PlainTextResponse("live\n")

    refusals: dict[Any, Any] = dict.fromkeys(STATUSES, _refuse)
    refusals |= {_TooLarge: _refuse_size, ClientDisconnect: _refuse_nobody}
    return Starlette(
        routes=[
            Route("/add-checkpoint", add, methods=["POST"]),
            Route("/checkpoint", seen),
            Route("/health/live", live),
        ],
        exception_handlers=refusals,
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with asyncio.timeout(BODY_S):
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_SUBMISSION:
                raise _TooLarge
    return bytes(body)


def _refuse(_request: Request, refused: Exception) -> Response:
    if isinstance(refused, OtherSize):
        log.info("other-size", size=refused.size)
        return Response(f"{refused.size}\n", 409, media_type=_SIZE)
    status = next(status for kind, status in STATUSES.items() if isinstance(refused, kind))
    # A signed checkpoint that has not grown from the last is evidence: it is worth a line that somebody reads.
    (log.error if isinstance(refused, NotGrown) else log.info)("refused", status=status, reason=str(refused))
    return PlainTextResponse(f"{refused or 'the body came too slowly'}\n", status)


def _refuse_size(_request: Request, _refused: Exception) -> Response:
    return PlainTextResponse(
        f"a submission has at most {MAX_SUBMISSION} bytes\n", 413, headers={"Connection": "close"}
    )


def _refuse_nobody(_request: Request, _refused: Exception) -> Response:
    return PlainTextResponse("nobody is left to answer\n", 400)
