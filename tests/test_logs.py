"""The log: one line of JSON for an event, whatever strangers send; each names its request, none holds a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from api import logs
from tests.proxy import wait
from tests.service import Caller, Service
from tests.sockets import raw, send

pytest_plugins = ("tests.deployments",)
ODD = ["\r\n{}", "\x1b[31m", "\x9b31m", "\x7f", "\u2028", "\u202e", "\ud800", "\x00", '"', "\\"]


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_a_line_is_printable_ascii_and_one_line(text: str) -> None:
    """Nothing in a field ends the line, moves a cursor or changes the direction of reading."""
    line = logs._line(None, "", {"event": text, "path": text})

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"] == text


def _lines(service: Service, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("request") == name]


def test_every_line_of_a_request_carries_its_name(service: Service, demo: Caller) -> None:
    """Why a token was refused and what was answered are found under the X-Request-Id, and the token is in neither."""
    token = demo.http.headers["authorization"] + "x"
    answer = demo.http.get("/v1/models", headers={"Authorization": token})
    name = answer.headers["X-Request-Id"]

    wait(lambda: len(_lines(service, name)) == 2)
    assert [line["event"] for line in _lines(service, name)] == ["token refused", "answered"]
    assert answer.json()["request_id"] == name
    assert token.partition(" ")[2] not in service.log()
    assert token.rpartition(".")[2] not in service.log()


def test_a_path_is_logged_as_it_was_sent(service: Service, demo: Caller) -> None:
    """Escapes stay escapes, a query (it may name a person) is left out, a long path is cut."""
    request = raw(demo, line="GET /v1/%1B%5B31m%0D%0Ax?reference=anna HTTP/1.1")
    name = send(demo, request).headers["X-Request-Id"]
    long = send(demo, raw(demo, line=f"GET /v1/{'a' * 3000} HTTP/1.1")).headers["X-Request-Id"]

    wait(lambda: _lines(service, name) and _lines(service, long))
    assert [line["path"] for line in _lines(service, name)] == ["/v1/%1B%5B31m%0D%0Ax"]
    assert len(_lines(service, long)[0]["path"]) == 200


@pytest.mark.parametrize(("trusted", "address"), [("127.0.0.1", "192.0.2.7"), ("192.0.2.1", "127.0.0.1")])
def test_an_address_is_believed_from_known_proxies_only(var: Path, trusted: str, address: str) -> None:
    """X-Forwarded-For counts if the peer is one of ONRECORD_TRUSTED_PROXIES, and is ignored otherwise."""
    service = Service(var, ONRECORD_TRUSTED_PROXIES=trusted)
    try:
        service.start()
        with service.caller() as caller:
            answer = caller.http.get("/v1/nothing", headers={"X-Forwarded-For": "192.0.2.7"})
        name = answer.headers["X-Request-Id"]

        wait(lambda: _lines(service, name))
        assert [line["address"] for line in _lines(service, name)] == [address]
    finally:
        service.kill()


def test_a_trace_shows_places_and_no_values() -> None:
    """What an exception says may quote a caller's input; the log keeps where it happened."""
    try:
        raise ValueError("anna")  # noqa: TRY301  # the trace is what is looked at
    except ValueError as error:
        event = logs._places_only(structlog.get_logger(), "error", {"event": "failed", "exc_info": error})

    assert "anna" not in json.dumps(event)
    assert event["raised"] == "ValueError"
