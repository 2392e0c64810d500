"""One connection of a stranger: uvicorn's, bounded in time and size where uvicorn is not.

uvicorn waits for ever for headers and bodies, keeps any number of headers, drops the authority of a whole-URL target,
and answers what it cannot read in plain text. Here a request has to be whole within deadlines, a head above the limit
ends the connection, and every answer is a problem. uvicorn's class is not a public interface: it is pinned, and
tests/test_connection.py holds what is used of it.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import guard
from api.operations import BODY_DEADLINE_S
from api.problems import MEDIA_TYPE, RequestRefused

HEAD_DEADLINE_S = 10
# A body that nobody reads any more (its request was refused) must come to its end, too.
WHOLE_DEADLINE_S = HEAD_DEADLINE_S + BODY_DEADLINE_S
TICKS_PER_S = 10  # how often uvicorn's main loop ticks
log = structlog.get_logger()


class Connection(HttpToolsProtocol):
    """Adds deadlines, limits and problems to uvicorn's connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin; from now on the other side owes a request."""
        super().connection_made(transport)
        self.transport = _Lingering(transport, self._is_owed)  # type: ignore[assignment]  # what uvicorn uses of it
        self._owing_since: float | None = self.loop.time()
        self._is_in_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head that does not end is not kept."""
        if self.transport.is_closing():
            return  # the rest of what was refused
        self._unset_keepalive_if_required()
        if self._owing_since is None:
            self._owing_since = self.loop.time()
        if self._is_in_head:
            self._head_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(_unreadable(sys.exc_info()[1]))
        else:
            if self._is_in_head and self._head_bytes > guard.MAX_TARGET_BYTES + guard.MAX_HEAD_BYTES:
                self._refuse(guard.too_many() if self.headers else guard.too_long())

    def _parse(self, data: bytes) -> None:
        """Feed the parser; an Upgrade is ignored, so what follows it is the next request (RFC 9110, 7.8)."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return

    def on_headers_complete(self) -> None:
        """Note what ASGI has no word for, then let uvicorn start the request."""
        self._is_in_head, self._head_bytes = False, 0
        extensions: dict[str, Any] = {}
        self.scope["extensions"] = extensions
        if self.url[:1] != b"/":
            extensions[guard.SEEN], self.url = _split(self.url)
        elif len(self.url) > guard.MAX_TARGET_BYTES:  # above 64 KiB httptools would not read it
            self.url = self.url[: 2 * guard.MAX_TARGET_BYTES]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole: nothing is owed."""
        self._is_in_head, self._owing_since = True, None
        super().on_message_complete()

    def hurry(self, now: float) -> None:
        """Cut off who is late, once a second: a timer for every request would cost each of them 2 µs."""
        late_s = 0 if self._owing_since is None else now - self._owing_since
        if self.transport.is_closing() or (self._is_answered() and not self._is_in_head):
            if late_s > WHOLE_DEADLINE_S:
                self.transport.abort()
        elif late_s > HEAD_DEADLINE_S and self._is_in_head:
            self._refuse_head()
        elif late_s > BODY_DEADLINE_S:
            self.cycle.message_event.set()  # wakes the reader, which looks at the clock (api/operations.py)

    def _refuse_head(self) -> None:
        if not self._head_bytes:
            self.transport.abort()  # nothing was asked
        else:
            detail = f"the headers did not come within {HEAD_DEADLINE_S} seconds"
            self._refuse(RequestRefused("request-timeout", detail))

    def _is_owed(self) -> bool:
        return self._owing_since is not None

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, refused: RequestRefused) -> None:
        """Answer what no application has seen, and hang up."""
        if not self._is_answered():
            # An answer is under way: it must not be mistaken for this one. After it, the connection ends.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        fault, request_id = refused.fault, secrets.token_hex(8)
        body = fault.body(request_id)
        head = (
            f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nx-content-type-options: nosniff\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        log.info("answered", request=request_id, status=fault.status, address=self.client and self.client[0])
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: any stranger may ask for an upgrade, and it is ignored."""


class _Lingering:
    """A transport that is not closed on whoever still sends: a reset would take the answer away (RFC 9112, 9.6).

    What is written in one turn of the event loop leaves in one piece: uvicorn writes head and body apart, and each
    would be a system call and a packet of its own.
    """

    def __init__(self, transport: asyncio.Transport, is_owed: Callable[[], bool]) -> None:
        self._transport, self._is_owed = transport, is_owed
        self._is_lingering = False
        self._out: list[bytes] = []
        self._call_soon = asyncio.get_running_loop().call_soon
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def is_closing(self) -> bool:
        return self._is_lingering or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._out:
            self._call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def close(self) -> None:
        self._flush()
        if not self._is_owed():
            self._transport.close()
        elif not self.is_closing():
            self._is_lingering = True
            self._transport.resume_reading()
            self._transport.write_eof()


class Server(uvicorn.Server):
    """Looks after its connections once a second."""

    async def on_tick(self, counter: int) -> bool:
        """Hurry those who are late."""
        if counter % TICKS_PER_S == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    _hurry(connection, now)
        return await super().on_tick(counter)


def _hurry(connection: Connection, now: float) -> None:
    try:
        connection.hurry(now)
    except Exception:  # a fault of one connection costs that connection, not the door and everybody in it
        log.exception("connection-lost")
        connection.transport.abort()


def _unreadable(error: BaseException | None) -> RequestRefused:
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return RequestRefused("not-implemented", "the request does not begin with a method known here")
    return RequestRefused("bad-request", "the request is not well-formed HTTP/1.1")


def _split(target: bytes) -> tuple[bytes, bytes]:
    """Cut a target that is no path into the authority it names (or itself) and the path to route by."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target, b"/"
    authority, _, path = rest.partition(b"/")
    return authority, b"/" + path
