"""What happens to a request between Connexion's routing and its handler, and on the way back. Knows no framework.

All is decided at start-up: which parameters, which body, which media types. A request then takes a straight line.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from api import conditions, denials, negotiation
from api.bodies import read_json
from api.calls import JSON, Answer, Call
from api.contract import Contract
from api.large import LARGE_BYTES, Cutter, Reader
from api.parameters import Parameters
from api.problems import RequestRefused, validation
from api.schemas import Schema

BODY_DEADLINE_S = 10
FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16 << 10
_CALL = "onrecord_call"
_JSON_WILL_DO = (None, "*/*", JSON)  # without a closer look

Handler = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """What checking needs from the contract: every operation with its parameters, and the schemas they refer to."""

    max_body_bytes: int
    components: Mapping[str, Any]
    operations: Mapping[str, Mapping[str, Any]]
    reader: Reader

    @classmethod
    def by(cls, contract: Contract, max_body_bytes: int) -> Declared:
        components = contract.document["components"]
        declared = {}
        for path, _, operation in contract.operations():
            shared = contract.document["paths"][path].get("parameters", [])
            parameters = [_resolved(each, components) for each in [*shared, *operation.get("parameters", [])]]
            declared[operation["operationId"]] = {**operation, "parameters": parameters}
        return cls(max_body_bytes, components["schemas"], declared, Reader())


def _resolved(parameter: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in parameter:
        return parameter
    found: Mapping[str, Any] = components["parameters"][parameter["$ref"].rsplit("/", 1)[1]]
    return found


class Checked:
    """One operation's checks, all decided at start-up: parameters, body, the media types it can answer."""

    def __init__(self, next_app: ASGIApp, operation_id: str, declared: Declared) -> None:
        self._next = next_app
        spec = declared.operations[operation_id]
        self._parameters = Parameters(spec["parameters"], declared.components)
        content = spec.get("requestBody", {}).get("content", {})
        self._media = tuple(content)
        self._schema = Schema(content[JSON]["schema"], declared.components) if JSON in content else None
        self._large = Cutter.of(self._schema, spec, declared.components) if self._schema else None
        self._max_bytes = MAX_FORM_BYTES if FORM in content else declared.max_body_bytes
        self._apart = declared.reader.read
        self._answers = _answers(spec)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, query = self._parameters.read(scope.get("path_params", {}), scope["query_string"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._parameters.check(headers)
        raw, media = b"", JSON
        if self._media:
            media = self._check_headers(headers)
            raw = await read_body(receive, int(headers["content-length"]), self._max_bytes)
        whole = functools.partial(self._read, raw, media, headers)
        unread = None
        reading = functools.partial(self._apart, whole) if len(raw) >= LARGE_BYTES else None
        if self._large is not None and reading is not None and headers.get("accept") in _JSON_WILL_DO:
            unread = self._large.cut(raw, reading)
        if unread is not None:
            body, accept = unread.rest, JSON
        else:
            body, accept = whole() if reading is None else await reading()
        token = scope["extensions"].get(denials.CONTEXT, {}).get("token_info", {})
        scope["extensions"][_CALL] = Call(
            claims=token.get("claims"),
            path=path,
            query=query,
            headers=headers,
            body=body,
            raw=raw,
            media=media,
            accept=accept,
            unread=unread,
        )
        await self._next(scope, receive, send)

    def _read(self, raw: bytes, media: str, headers: Mapping[str, str]) -> tuple[Any, str]:
        """Read a body and choose what to answer, in this order."""
        try:
            body = self._parse(raw) if self._media and media == JSON else None
            return body, self._negotiate(headers.get("accept"))
        except RequestRefused as refused:
            refused.tell(**denials.of_body(raw))
            raise

    def _check_headers(self, headers: Mapping[str, str]) -> str:
        length = headers.get("content-length", "")
        if not length:  # that it is a number, and no Transfer-Encoding beside it, api/guard.py has seen to
            raise RequestRefused("length-required", "send the body with Content-Length")
        if int(length) > self._max_bytes:
            raise _too_large(self._max_bytes)
        media, _, parameters = headers.get("content-type", "").partition(";")
        charset = parameters.replace(" ", "").replace('"', "").lower()
        plain = headers.get("content-encoding", "identity").lower() == "identity"
        media = media.strip().lower()
        if media not in self._media or charset not in ("", "charset=utf-8") or not plain:
            detail = f"send {' or '.join(self._media)} in UTF-8, without content coding"
            raise RequestRefused(
                "unsupported-media-type", detail, Accept=", ".join(self._media), Accept_Encoding="identity"
            )
        return media

    def _parse(self, raw: bytes) -> Any:
        assert self._schema is not None, "a body of JSON has a schema"
        if not raw.strip():
            raise validation([{"pointer": "", "detail": "a body is required"}])
        body = read_json(raw)
        if not self._schema.is_valid(body):
            raise validation(*self._schema.violations(body))
        return body

    def _negotiate(self, accept: str | None) -> str:
        if accept is None or accept == "*/*" or not self._answers:
            return self._answers[0] if self._answers else JSON
        best = negotiation.best(accept, self._answers)
        if best is None:
            raise RequestRefused("not-acceptable", f"this answers {', '.join(self._answers)}")
        return best


def _answers(spec: Mapping[str, Any]) -> list[str]:
    good = [answer for status, answer in spec["responses"].items() if status.startswith("2")]
    # What was asked as a form is answered as OAuth says, whatever is accepted.
    if FORM in spec.get("requestBody", {}).get("content", {}):
        return []
    return [media for answer in good for media in answer.get("content", {})]


def _too_large(limit: int) -> RequestRefused:
    # The rest of the body is not read, so the connection cannot be used again.
    return RequestRefused("too-large", f"send at most {limit} bytes", Connection="close")


async def read_body(receive: Receive, length: int, limit: int) -> bytes:
    """Read the whole body, however it is cut into messages, within ten seconds.

    A body usually comes with its headers, so the first message is waited for without a timer (it would cost 5 µs): if
    it is late, the server wakes us with an empty one (api/processes/connection.py).
    """
    clock = asyncio.get_running_loop().time
    until = clock() + BODY_DEADLINE_S
    message = await _receive(receive)
    if not message.get("more_body", False):
        return bytes(message.get("body", b""))
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body", False):
        try:
            async with asyncio.timeout_at(until):
                message = await _receive(receive)
        except TimeoutError as late:
            detail = f"{size} of {length} bytes came within {BODY_DEADLINE_S} seconds"
            raise RequestRefused("request-timeout", detail, Connection="close") from late
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > min(length, limit):
            raise _too_large(limit)
    return b"".join(parts)


class Disconnected(Exception):
    """The caller went away before its request was whole; there is nobody to answer."""


async def _receive(receive: Receive) -> Mapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message


class Called:
    """One operation's handler: async on the event loop, plain functions on a worker thread.

    Where the contract promises an ETag, it is made of the very bytes that are shown.
    """

    def __init__(self, handler: Handler, spec: Mapping[str, Any]) -> None:
        inner = handler.func if isinstance(handler, functools.partial) else handler
        self._handler = handler
        self._is_async = inspect.iscoroutinefunction(inner)
        self._is_tagged = "requestBody" not in spec and "ETag" in spec["responses"].get("200", {}).get(
            "headers", {}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["extensions"][_CALL]
        if self._is_async:
            answer = await self._handler(call)
        else:
            answer = await anyio.to_thread.run_sync(self._handler, call)
        if answer.event or answer.status >= 400:
            scope["extensions"][denials.TOLD] = call, answer
        headers = dict(answer.headers)
        if call.claims is not None:
            headers.setdefault("Cache-Control", "no-store")
        if isinstance(answer.content, Iterator):
            await _stream(receive, send, answer, headers, is_head=scope["method"] == "HEAD")
            return
        content = answer.content if isinstance(answer.content, bytes) else orjson.dumps(answer.content)
        if self._is_tagged and answer.status == 200:
            headers["ETag"] = tag = headers.get("ETag") or conditions.tag(content)
            if conditions.is_known(call.headers, tag):
                await _send_unchanged(send, headers)
                return
        await _send(send, answer, headers, content)


def _raw(headers: Mapping[str, str], answer: Answer) -> list[tuple[bytes, bytes]]:
    media = (
        f"{answer.media_type}; charset=utf-8" if answer.media_type.startswith("text/") else answer.media_type
    )
    pairs = [(b"content-type", media.encode())]
    return pairs + [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def _send(send: Send, answer: Answer, headers: Mapping[str, str], content: bytes) -> None:
    raw = [*_raw(headers, answer), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


async def _send_unchanged(send: Send, headers: Mapping[str, str]) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 304, "headers": raw})
    await send({"type": "http.response.body", "body": b""})


async def _stream(
    receive: Receive, send: Send, answer: Answer, headers: Mapping[str, str], *, is_head: bool
) -> None:
    """Send piece by piece; the first piece is made before the status, so that a failing query is still a problem."""
    pieces = _pieces(answer.content)
    first = await anext(pieces, b"")
    await send({"type": "http.response.start", "status": answer.status, "headers": _raw(headers, answer)})
    if not is_head:
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            while not leaving.done() and (piece := await anext(pieces, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if leaving.done():
                raise Disconnected  # nobody reads the rest; it would keep the database busy for as long as it is
        finally:
            leaving.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pieces(content: Any) -> AsyncIterator[bytes]:
    while isinstance(piece := await anyio.to_thread.run_sync(next, content, None), bytes):
        yield piece
