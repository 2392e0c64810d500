"""The HTTP around every operation: methods, media types, sizes; a wrong one is named and costs nothing else."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from api.problems import PROBLEMS
from tests.proxy import wait
from tests.service import Caller, Service

HOUSING = "/v1/models/housing/predictions"
BODY = b'{"instances":[{"age":50}]}'
JSON = {"Content-Type": "application/json"}


def _is_problem(answer: httpx.Response, slug: str) -> None:
    """Check the one shape of all problems."""
    kind = PROBLEMS[slug]
    assert answer.status_code == kind.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert (content["type"], content["title"], content["status"]) == (
        f"/problems/{slug}",
        kind.title,
        kind.status,
    )
    assert len(answer.content) < 4096


def test_a_head_is_a_get_without_a_body(demo: Caller) -> None:
    """HEAD answers the headers of GET."""
    answer, get = demo.http.head("/v1/models"), demo.http.get("/v1/models")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/v1/models", "GET, HEAD, OPTIONS"), (HOUSING, "OPTIONS, POST"), ("/oauth/token", "OPTIONS, POST")],
)
def test_a_method_that_is_not_offered_lists_those_that_are(demo: Caller, path: str, allow: str) -> None:
    """405 carries the full Allow; OPTIONS answers the same without a body."""
    refused = demo.http.delete(path)
    asked = demo.http.options(path)

    _is_problem(refused, "method-not-allowed")
    assert refused.headers["allow"] == asked.headers["allow"] == allow
    assert (asked.status_code, asked.content) == (204, b"")


@pytest.mark.parametrize(
    "path", ["/v1/models/", "/v1/nothing", "/v1/models/none-of-ours", "/v1//models", "/v1"]
)
def test_an_unknown_address_is_not_found(demo: Caller, path: str) -> None:
    """A slash too many is an unknown address, too, not a redirect somewhere."""
    _is_problem(demo.http.get(path), "not-found")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json; charset=bogus"},
        {"Content-Type": "*/*"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
    ids=repr,
)
def test_a_body_of_another_kind_is_refused(demo: Caller, headers: dict[str, str]) -> None:
    """Anything but JSON in UTF-8 is 415 and says what can be sent."""
    answer = demo.http.post(HOUSING, content=BODY, headers=headers)

    _is_problem(answer, "unsupported-media-type")
    assert answer.headers["accept"] == "application/json"


def test_the_spelling_of_the_media_type_does_not_open_a_gap(demo: Caller) -> None:
    """`Application/JSON; Charset="UTF-8"` is JSON, and its body is held against the contract."""
    spelt = {"Content-Type": 'Application/JSON; Charset="UTF-8"'}

    assert demo.http.post(HOUSING, content=BODY, headers=spelt).status_code == 201
    _is_problem(demo.http.post(HOUSING, content=b'{"instances":[]}', headers=spelt), "validation")


def test_a_body_without_a_length_is_refused(demo: Caller) -> None:
    """A chunked body is 411: its end would be somebody's opinion."""
    _is_problem(demo.http.post(HOUSING, content=iter([BODY]), headers=JSON), "length-required")


def test_a_body_that_is_too_large_is_not_read(demo: Caller) -> None:
    """The declared length alone decides; 413 comes although no byte of the body was sent."""
    request = (
        f"POST {HOUSING} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000000000000\r\n"
        f"Authorization: {demo.http.headers['authorization']}\r\n\r\n"
    )
    address = httpx.URL(demo.url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(request.encode())
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("text/html, application/*;q=0.1", 200),
        ("image/png", 406),
        ("application/json;q=0, text/html", 406),
    ],
)
def test_what_cannot_be_given_is_not_acceptable(demo: Caller, accept: str, status: int) -> None:
    """Accept is honoured, with its weights."""
    answer = demo.http.get("/v1/models", headers={"Accept": accept})

    assert answer.status_code == status
    if status == 406:
        _is_problem(answer, "not-acceptable")


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=101",
            "limit=abc",
            "limit=1e2",
            "limit=1_0",
            "limit=%D9%A3",
            "limit=+1",
            "limit=%201",
        ),
        *("limit=1&limit=2", "limit=", "limit=null", "limit=99999999999999999999", "colour=red"),
        *(
            "score_min=nan",
            "score_min=inf",
            "score_min=0x1",
            "score_max=1e999",
            "has_outcome=1",
            "has_outcome=True",
        ),
        *("from=yesterday", "from=2026-01-01", "from=2026-01-01T00:00:00", "from=2026-13-01T00:00:00Z"),
        *("model=..%2F..%2Fetc", "model=A", "reference=%00", "label=%0A", "cursor=a%20b"),
    ],
)
def test_a_wrong_parameter_is_named(demo: Caller, query: str) -> None:
    """Each wrong, unknown or repeated parameter is 400 under its own name."""
    answer = demo.http.get(f"/v1/predictions?{query}")

    _is_problem(answer, "validation")
    assert [error["parameter"] for error in answer.json()["errors"]] == [query.split("=", maxsplit=1)[0]]


@pytest.mark.parametrize("query", ["%FF=1", "reference=%FF", "a", "&&", "=", "x" * 3000])
def test_a_broken_query_is_a_problem(demo: Caller, query: str) -> None:
    """A query that is no list of pairs, or no text, is refused without a stack."""
    assert demo.http.get(f"/v1/predictions?{query}").status_code == 400


@pytest.mark.parametrize(
    "when",
    [
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999999-23:59",
        "2016-12-31T23:59:60Z", "2026-01-01t00:00:00z", "2026-01-01T00:00:00.1Z",
    ],
)  # fmt: skip
def test_every_time_of_rfc_3339_is_understood(demo: Caller, when: str) -> None:
    """Leap seconds, small letters and the ends of the calendar are times like others."""
    answer = demo.http.get("/v1/predictions", params={"from": when, "to": when})

    assert (answer.status_code, answer.json()) == (200, {"predictions": []})


def test_every_answer_has_a_name(service: Service, demo: Caller) -> None:
    """Every answer carries an id that the log knows, too, when something was wrong."""
    good, wrong = demo.http.get("/v1/models"), demo.http.get("/v1/nothing")

    assert len({good.headers["x-request-id"], wrong.headers["x-request-id"]}) == 2
    wait(lambda: _logged(service, wrong) == [404])


def _logged(service: Service, answer: httpx.Response) -> list[int]:
    """Find what the log says of an answer, which it may do after its caller has it."""
    lines = [line for line in service.log().splitlines() if answer.headers["x-request-id"] in line]
    return [json.loads(line)["status"] for line in lines if line.endswith("}")]


def test_the_document_is_served_from_memory(service: Service) -> None:
    """/openapi.json is the same bytes for everybody, without internal members, and needs no token."""
    one, other = httpx.get(f"{service.url}/openapi.json"), httpx.get(f"{service.url}/openapi.json")

    assert one.content == other.content
    assert '"x-' not in one.text
    assert one.json()["openapi"] == "3.0.3"
