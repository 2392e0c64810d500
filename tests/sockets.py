"""Requests byte for byte over a plain socket, because HTTP clients tidy them up; and what every answer owes."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from api import contract
from api.app import CONTRACT
from api.schemas import Schema
from tests.service import Caller

HOUSING = "/v1/models/housing/predictions"
BODY = b'{"instances":[{"age":50}]}'
JSON = "Content-Type: application/json"
# What must never be told: places in the code, libraries, the way an exception is shown.
LEAKS = re.compile(
    rb"Traceback|\.py\b|site-packages|/home/|/usr/|/work|/tmp|uvicorn|starlette|connexion|orjson|jsonschema|sqlalchemy"
    rb"|psycopg|sqlite|werkzeug|httptools|Exception|Error\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """One answer, read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def type(self) -> str | None:
        """Name the problem without its folder, if it is one."""
        if self.headers["Content-Type"] != "application/problem+json" or not self.body:
            return None
        return str(json.loads(self.body)["type"]).removeprefix("/problems/")

    def is_sound(self, secret: bytes = b"\x00never") -> None:
        """Check what every answer owes, whatever was asked: a name, a shape, a size, and nothing told."""
        assert self.headers.get_all("X-Request-Id") is not None, self
        assert len(self.headers.get_all("X-Request-Id") or []) == 1
        assert self.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert "Server" not in self.headers
        if self.status >= 400 and self.body:
            content = json.loads(self.body)
            assert problem().violations(content) == ([], 0), self.body
            assert content["status"] == self.status
            assert content["request_id"] == self.headers["X-Request-Id"]
            assert len(self.body) < 4096
            assert self.headers["Cache-Control"] == "no-store"
            assert not LEAKS.search(self.body), self.body
            assert secret not in self.body


@cache
def problem() -> Schema:
    """Compile the contract's own schema of problems."""
    components = contract.read(CONTRACT, 10).document["components"]["schemas"]
    return Schema(components["Problem"], components)


def raw(
    caller: Caller,
    *headers: str,
    line: str = f"POST {HOUSING} HTTP/1.1",
    body: bytes = b"",
    host: str | None = "",
) -> bytes:
    """Write a request: `host` None leaves the header away, "" is the right one; a token is always sent."""
    lines = [line, *headers, f"Authorization: {caller.http.headers['authorization']}"]
    if host is not None:
        lines.insert(1, f"Host: {host or address(caller)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def posted(caller: Caller, body: bytes, *headers: str) -> bytes:
    """Write a good POST around a body."""
    return raw(caller, *(headers or (JSON,)), f"Content-Length: {len(body)}", body=body)


def got(caller: Caller, path: str, *headers: str, method: str = "GET") -> bytes:
    """Write a good GET of an address."""
    return raw(caller, *headers, line=f"{method} {path} HTTP/1.1")


def address(caller: Caller) -> str:
    """Name the service as a Host."""
    return httpx.URL(caller.url).netloc.decode()


@contextmanager
def line(caller: Caller, timeout: float = 60) -> Iterator[socket.socket]:
    """Open a connection for the length of a block."""
    url = httpx.URL(caller.url)
    with socket.create_connection((url.host, url.port or 80), timeout=timeout) as connection:
        yield connection


def send(caller: Caller, request: bytes, method: str = "POST", timeout: float = 60) -> Answer:
    """Send bytes as they are and read one answer."""
    with line(caller, timeout) as connection:
        connection.sendall(request)
        return read(connection, method)


def read(connection: socket.socket, method: str = "POST") -> Answer:
    """Read one answer."""
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    return Answer(answer.status, answer.headers, answer.read())


def good(caller: Caller) -> None:
    """Make the request that must always work, and remember its answer."""
    answer: Any = caller.send("housing", BODY)
    assert answer.status_code == 201, answer.text
