"""In front of everything: is this one well-formed request, for us, of a size we read? Decided before any routing.

Knows no operation and no token. What a server or a proxy could read in two ways is refused, so that it does not matter
how they read it. Order: target 414, doubled headers 400, headers 431, Host 400, codings 400 and 411, declared length
413, Expect 417, method 501, path 400 and 404; then 404, 405, 401 and all the rest (api/direct.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from api.hosts import Hosts
from api.problems import TWO_HEADERS, RequestRefused

# What the connection saw of the request line and ASGI has no word for: `target`, where it is no plain path.
SEEN = "onrecord_seen"
MAX_TARGET_BYTES = 8 << 10
MAX_HEAD_BYTES = 32 << 10
MAX_HEADERS = 100
# Registered methods are recognised, whether or not an address offers them (RFC 9110, 9.1); others are 501.
METHODS = frozenset(
    {
        *("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "ACL"),
        *("BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE"),
        *("PROPFIND", "PROPPATCH", "REBIND", "REPORT", "SEARCH", "UNBIND", "UNLINK", "UNLOCK"),
    }
)
EVERYWHERE = "GET, HEAD, OPTIONS, POST, PUT"
_VERSIONS = ("1.1", "1.0", "2", "3")  # the last two as a server in front of ASGI may speak them
_ONCE = frozenset(
    {
        *(b"host", b"authorization", b"content-type", b"content-length", b"content-encoding"),
        *(b"transfer-encoding", b"expect", b"idempotency-key"),
    }
)
# Segments of unreserved characters, none of them `.` or `..`: every address of the contract is one.
_PLAIN = re.compile(rb"/|(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DOTS = frozenset({b"", b".", b".."})


class Guard:
    """Refuses what is wrong with a request as HTTP; what passes has each header once and a path of plain text."""

    def __init__(self, app: ASGIApp, hosts: str, max_body_bytes: int) -> None:
        self._app = app
        self._hosts = Hosts(hosts)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = self._headers(scope)
        host = headers.get(b"host")
        if host is None or not self._hosts.allow(host):
            _refuse("the header Host is missing or names no service here; ONRECORD_HOSTS lists those that do")
        if b"transfer-encoding" in headers:
            _refuse_coding(headers)
        if b"content-length" in headers:
            self._check_length(headers[b"content-length"])
        if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
            raise RequestRefused("expectation-failed", "the only expectation that can be met is 100-continue")
        _check_line(scope, host)

    def _headers(self, scope: Scope) -> Mapping[bytes, bytes]:
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise too_long()
        fields = scope["headers"]
        headers = dict(fields)
        if len(headers) != len(fields):
            headers = _merged(fields)
            scope["headers"] = list(headers.items())
        size = sum(map(len, headers)) + sum(map(len, headers.values()))
        if len(fields) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            raise too_many()
        return headers

    def _check_length(self, text: bytes) -> None:
        if not text.isdigit():
            _refuse("the header Content-Length is not a number")
        # More than fifteen digits are not worth reading.
        if len(text) > 15 or int(text) > self._max_body_bytes:
            # The body is not read, so the connection cannot be used again.
            raise RequestRefused(
                "too-large", f"send at most {self._max_body_bytes} bytes", Connection="close"
            )


def _check_line(scope: Scope, host: bytes) -> None:
    if scope["http_version"] not in _VERSIONS:
        _refuse("the request is neither HTTP/1.1 nor HTTP/1.0")
    if scope["method"] not in METHODS:
        raise RequestRefused("not-implemented", "the method is not one that is registered for HTTP")
    if SEEN in scope["extensions"]:
        _check_target(scope["method"], scope["extensions"][SEEN], host)
    if not _PLAIN.fullmatch(scope["raw_path"]):
        _check_path(scope["raw_path"])


def _check_target(method: str, authority: bytes, host: bytes) -> None:
    """Judge a target that is no path: the authority of a whole URL, or what only OPTIONS and CONNECT may name."""
    if method == "CONNECT":
        detail = "there is no way through here"
        raise RequestRefused("method-not-allowed", detail, Allow=EVERYWHERE, Connection="close")
    if authority == b"*":
        if method != "OPTIONS":
            _refuse("the target * is for OPTIONS")
        raise RequestRefused("method-not-allowed", "use a path", Allow=EVERYWHERE)
    if authority.lower() != host.lower():
        _refuse("the request line and the header Host name different services")


def too_long() -> RequestRefused:
    """Refuse a target that is longer than any of ours."""
    return RequestRefused(
        "uri-too-long", f"at most {MAX_TARGET_BYTES} bytes of path and query are read", Connection="close"
    )


def too_many() -> RequestRefused:
    """Refuse headers that are more, or larger, than anything here needs."""
    detail = f"at most {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes together are read"
    return RequestRefused("headers-too-large", detail, Connection="close")


def _refuse(detail: str) -> NoReturn:
    raise RequestRefused("bad-request", detail, Connection="close")


def _merged(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Join the lines of headers that are lists (RFC 9110, 5.3); refuse to choose between those that are not."""
    merged: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in merged and name in _ONCE:
            refused = RequestRefused(
                "bad-request", f"send the header {name.decode()} once", Connection="close"
            )
            raise refused.tell(**TWO_HEADERS) if name == b"authorization" else refused
        merged[name] = merged[name] + b", " + value if name in merged else value
    return merged


def _refuse_coding(headers: Mapping[bytes, bytes]) -> NoReturn:
    if b"content-length" in headers or headers[b"transfer-encoding"].lower() != b"chunked":
        _refuse("the end of the body is ambiguous; send it with Content-Length and without Transfer-Encoding")
    raise RequestRefused(
        "length-required", "send the body with Content-Length, not in chunks", Connection="close"
    )


def _check_path(raw: bytes) -> None:
    """Judge a path with something unusual in it, by what it would mean to whoever decodes it."""
    path = unquote_to_bytes(raw)
    if _ESCAPE.search(raw) or min(path) < 0x20 or b"\x7f" in path or not _is_utf8(path):
        _refuse("the path holds characters that no address has")
    if (
        b"%2f" in raw.lower()
        or b"\\" in path
        or b";" in path
        or not _DOTS.isdisjoint(path[1:].split(b"/")[:-1])
    ):
        raise nowhere()
    if path.rsplit(b"/", 1)[1] in (b".", b"..") or path[:1] != b"/":
        raise nowhere()


def nowhere() -> RequestRefused:
    """Say that nothing is at this address."""
    return RequestRefused("not-found", "there is no such address")


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
