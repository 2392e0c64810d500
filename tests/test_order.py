"""The order of checks: a request with every fault there is hears of them one by one, always in the same order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.service import Caller, Service
from tests.sockets import address, send

INCOME = "/v1/models/income/predictions"
Request = dict[str, Any]


def _set(name: str, value: Any) -> Callable[[Request], None]:
    return lambda request: request.update({name: value})


def _add(*lines: str) -> Callable[[Request], None]:
    return lambda request: request["headers"].extend(lines)


# In the order in which they are found; each is put into the request before the ones above it.
FAULTS: list[tuple[str, Callable[[Request], None]]] = [
    ("uri-too-long", lambda request: request.update(query=request["query"] + "&label=" + "a" * 9000)),
    ("bad-request", _add("Content-Type: application/json", "Content-Type: application/json")),
    ("headers-too-large", _add("X: " + "y" * 33_000)),
    ("bad-request", _set("host", "evil.example")),
    ("length-required", _set("length", "Transfer-Encoding: chunked")),
    ("too-large", _set("length", "Content-Length: 99999999999")),
    ("expectation-failed", _add("Expect: x")),
    ("not-implemented", _set("method", "PURGE")),
    ("bad-request", _set("path", "/v1/%00")),
    ("not-found", _set("path", "/v1/nothing")),
    ("method-not-allowed", _set("method", "PATCH")),
    ("unauthorized", _set("token", "Bearer x")),
    ("forbidden", _set("token", "scopeless")),
    ("validation", _set("query", "?colour=red")),
    ("unsupported-media-type", _set("type", "Content-Type: text/plain")),
    ("malformed-json", _set("body", b"{")),
    ("validation", _set("body", b'{"instances":[]}')),
    ("not-acceptable", _set("accept", "Accept: image/png")),
    ("not-found", _set("version", "none")),
]  # fmt: skip


@pytest.fixture(scope="module")
def scopeless(service: Service) -> str:
    """Sign in as a client that may do nothing here."""
    added = json.loads(service.command("client", "add", "bystander", "--scope", "introspect").stdout)
    with Caller(service.url, added["client_id"], added["client_secret"]) as caller:
        return str(caller.http.headers["authorization"])


def _written(request: Request, caller: Caller, scopeless: str) -> bytes:
    body = request["body"]
    if body is None:
        version = {"version": request["version"]} if request["version"] else {}
        body = json.dumps({"instances": [request["instance"]], **version}).encode()
    token = {"mine": caller.http.headers["authorization"], "scopeless": scopeless}.get(
        request["token"], request["token"]
    )
    lines = [
        f"{request['method']} {request['path']}{request['query']} HTTP/1.1",
        f"Host: {request['host']}",
        request["length"] or f"Content-Length: {len(body)}",
        request["accept"],
        f"Authorization: {token}",
        *([] if any("Content-Type" in line for line in request["headers"]) else [request["type"]]),
        *request["headers"],
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _good(caller: Caller) -> Request:
    document = httpx.get(f"{caller.url}/openapi.json").json()
    content = document["paths"][INCOME]["post"]["requestBody"]["content"]["application/json"]
    instance = next(iter(content["examples"].values()))["value"]["instances"][0]
    empty: Iterator[str] = iter(("query", "length"))
    return dict.fromkeys(empty, "") | {
        "method": "POST", "path": INCOME, "host": address(caller), "token": "mine", "accept": "Accept: */*",
        "type": "Content-Type: application/json", "headers": [], "body": None, "instance": instance, "version": None,
    }  # fmt: skip


def test_faults_are_found_in_one_order(demo: Caller, scopeless: str) -> None:
    """With all faults the first is answered, without it the second, and so on down to 201."""
    heard = []
    for first in range(len(FAULTS)):
        request = _good(demo)
        for _, spoil in reversed(FAULTS[first:]):
            spoil(request)
        heard.append(send(demo, _written(request, demo, scopeless)).type)

    assert heard == [slug for slug, _ in FAULTS]
    answer = send(demo, _written(_good(demo), demo, scopeless))
    assert answer.status == 201
    demo.seen[json.loads(answer.body)["record"]] = answer.body
