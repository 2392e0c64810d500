"""The outermost layer of a door: a name for every request, one line in the log, and every exception as its problem."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import denials
from api.catalog import ModelUnknown
from api.contract import Contract
from api.events import Events
from api.logs import named
from api.operations import Disconnected
from api.problems import MEDIA_TYPE, Fault, RequestRefused
from api.records import erasures
from db.engine import StorageUnavailable
from db.erased import RecordErased
from db.lookups import RecordNotFound
from db.security_events import SecurityEvent

log = structlog.get_logger()
_ROOT = logging.getLogger()
PATH_CHARACTERS = 200  # of a path in the log
# Exceptions of other rooms; everything else is a fault of ours.
_BY_CLASS: Mapping[type[Exception], Fault] = {
    ModelUnknown: Fault(slug="not-found", detail="there is no such model or version here"),
    RecordNotFound: Fault(slug="not-found", detail="there is no such thing here"),
    StorageUnavailable: Fault(
        slug="store-unavailable", detail="ask again in a second", headers={"Retry-After": "1"}
    ),
}
_INTERNAL = Fault(slug="internal", detail="this is our fault and was logged")


class Front:
    """Wraps a door: whatever happens inside, exactly one well-formed answer leaves, or none if the caller left."""

    def __init__(self, app: ASGIApp, contract: Contract, events: Events, clock_us: Callable[[], int]) -> None:
        self._app, self._events, self._clock_us = app, events, clock_us
        self._allowed = _allowed(contract)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("extensions", {})
        answering = _Answering(send)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answering)
        except Disconnected:
            log.info("caller left", path=_path(scope))
            return
        except Exception as error:  # noqa: BLE001  # the last resort: a caller must get an answer, the log the reason
            await self._answer_error(error, scope, answering)
        if denials.TOLD in scope["extensions"]:
            self._note(lambda at_us: denials.answered(scope, at_us, answering.request_id))
        self._log(scope, answering, time.perf_counter() - started)

    async def _answer_error(self, error: Exception, scope: Scope, answering: _Answering) -> None:
        fault = self._fault(error, scope)
        if fault is _INTERNAL:
            log.error("failed", path=_path(scope), exc_info=error)
        if answering.status is not None:
            raise error  # half an answer is out: the server cuts the connection, which no caller takes for a whole one
        if fault.slug == "method-not-allowed" and scope["method"] == "OPTIONS":
            await answering.send_whole(204, {"Allow": fault.headers["Allow"]}, b"")
        else:
            content = fault.body(answering.request_id)
            await answering.send_whole(fault.status, {"Content-Type": MEDIA_TYPE, **fault.headers}, content)
        self._note(lambda at_us: denials.refused(scope, error, fault, at_us, answering.request_id))

    def _note(self, told: Callable[[int], SecurityEvent | None]) -> None:
        """Note a security event; the answer has left, and nothing that happens here can change it."""
        try:
            if (event := told(self._clock_us())) is not None:
                self._events.note(event)
        except Exception:
            log.exception("event-not-noted")

    def _fault(self, error: Exception, scope: Scope) -> Fault:
        if isinstance(error, RequestRefused):
            return error.fault
        if isinstance(error, RecordErased):
            return _erased(error)
        if isinstance(error, HTTPException) and error.status_code == 405:
            allow = self._allow(scope["path"].removeprefix(scope.get("root_path", "")))
            return Fault(slug="method-not-allowed", detail=f"use {allow}", headers={"Allow": allow})
        if isinstance(error, HTTPException) and error.status_code == 404:
            return Fault(slug="not-found", detail="there is no such address")
        return next((fault for kind, fault in _BY_CLASS.items() if isinstance(error, kind)), _INTERNAL)

    def _allow(self, path: str) -> str:
        """Unite the methods of every path that matches; the router names only the first."""
        return next((methods for pattern, methods in self._allowed if pattern.fullmatch(path)), "OPTIONS")

    def _log(self, scope: Scope, answering: _Answering, seconds: float) -> None:
        refused = answering.status is None or answering.status >= 400
        if not refused and not _ROOT.isEnabledFor(logging.DEBUG):
            return  # to find that out, structlog would take twenty times as long
        (log.info if refused else log.debug)(
            "answered",
            method=scope["method"],
            path=_path(scope),
            address=scope["client"] and scope["client"][0],
            status=answering.status,
            ms=round(seconds * 1000, 2),
        )


def _erased(error: RecordErased) -> Fault:
    by = ", ".join(str(each.erasure) for each in error.erasures)
    more = {"erased": erasures(error.erasures)}
    return Fault(slug="erased", detail=f"it was erased by record {by}", more=more)


def _allowed(contract: Contract) -> list[tuple[re.Pattern[str], str]]:
    methods: dict[str, set[str]] = {}
    for path, method, _ in contract.operations():
        methods.setdefault(path, {"OPTIONS"}).add(method.upper())
    for each in methods.values():
        if "GET" in each:
            each.add("HEAD")
    return [
        (re.compile(re.sub(r"\\\{[^/]+?\\\}", "[^/]+", re.escape(path))), ", ".join(sorted(each)))
        for path, each in methods.items()
    ]


def _path(scope: Scope) -> str:
    """Show the path as it was sent: ASCII, control characters escaped, no query (it may name a person)."""
    return str(scope["raw_path"][:PATH_CHARACTERS], "latin-1")


class _Answering:
    """Remembers whether the answer has begun, and puts on it what every answer carries."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.request_id = named()
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)

    async def send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        pairs: list[Any] = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if status != 204:
            pairs += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})
