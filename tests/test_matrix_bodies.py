"""What a caller can put into a body, a parameter, a header: refused under its name, or taken for exactly what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.problems import PROBLEMS
from tests import auditor
from tests.malformed import BROKEN, NAUGHTY, around
from tests.proxy import wait
from tests.service import Caller, Service
from tests.sockets import BODY, HOUSING, JSON, Answer, good, got, posted, raw, send


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    """Sign in for the whole table; afterwards every record is audited, and none is there that was not answered."""
    with service.caller("demo") as caller:
        before = len(caller.find(model="housing"))
        yield caller
        caller.sign_in()
        answered = [json.loads(body) for body in caller.seen.values()]
        housing = sum(len(each["predictions"]) for each in answered if each["model"] == "housing")
        assert len(caller.find(model="housing")) - before == housing
    assert auditor.audit(service.database_url, caller.seen) == []


UNSAID = b"\x00never"


def _refused(answer: Answer, slug: str, secret: bytes = UNSAID) -> dict[str, Any]:
    assert (answer.status, answer.type) == (PROBLEMS[slug].status, slug), answer.body
    answer.is_sound(secret)
    content: dict[str, Any] = json.loads(answer.body)
    return content


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_strict_json_is_refused(caller: Caller, name: str) -> None:
    """Whatever two parsers could read in two ways, or in none, is 400, is not shown again, and costs nothing else."""
    body = BROKEN[name]

    slug = "malformed-json" if body.strip() else "validation"
    _refused(send(caller, posted(caller, body)), slug, body[:2000] if len(body) > 8 else UNSAID)

    good(caller)


WRONG = {
    "nothing": (b"", ""),
    "a list": (b"[]", ""),
    "a text": (b'"instances"', ""),
    "null": (b"null", ""),
    "a number": (b"50", ""),
    "an empty object": (b"{}", "/instances"),
    "no instances": (b'{"instances":[]}', "/instances"),
    "instances that are none": (b'{"instances":{"0":{"age":50}}}', "/instances"),
    "an instance that is a list": (b'{"instances":[[50]]}', "/instances/0"),
    "an instance that is null": (b'{"instances":[null]}', "/instances/0"),
    "one row shorter than the other": (b'{"instances":[{"age":50},{}]}', "/instances/1/age"),
    "a boolean": (around(b"true"), "/instances/0/age"),
    "a text for a number": (around(b'"50"'), "/instances/0/age"),
    "a number that is missing": (around(b"null"), "/instances/0/age"),
    "a list for a number": (around(b"[50]"), "/instances/0/age"),
    "an object for a number": (around(b'{"$gt":0}'), "/instances/0/age"),
    "1e308": (around(b"1e308"), "/instances/0/age"),
    "-1e308": (around(b"-1e308"), "/instances/0/age"),
    "an unknown member": (around(b'50,"price":1'), "/instances/0/price"),
    "a name in capitals": (b'{"instances":[{"AGE":50}]}', "/instances/0/AGE"),
    "__proto__": (around(b'50,"__proto__":{"age":1}'), "/instances/0/__proto__"),
    "constructor": (b'{"instances":[{"age":50}],"constructor":{}}', "/constructor"),
    "a name with a slash": (around(b'50,"a/b~c":1'), "/instances/0/a~1b~0c"),
    "an empty reference": (around(b'50,"reference":""'), "/instances/0/reference"),
    "a reference of two lines": (around(b'50,"reference":"a\\nb"'), "/instances/0/reference"),
    "a reference with an escape sequence": (around(b'50,"reference":"\\u001b[31m"'), "/instances/0/reference"),
    "a reference too long": (around(b'50,"reference":"' + b"a" * 201 + b'"'), "/instances/0/reference"),
    "a version that is a path": (b'{"instances":[{"age":50}],"version":"../1"}', "/version"),
    "a version and a line": (b'{"instances":[{"age":50}],"version":"1\\n"}', "/version"),
    "a version that is a number": (b'{"instances":[{"age":50}],"version":1}', "/version"),
    "version and alias": (b'{"instances":[{"age":50}],"version":"1","alias":"champion"}', ""),
    "too many instances": (b'{"instances":[' + b'{"age":50},' * 10_000 + b'{"age":50}]}', "/instances"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_the_contract_does_not_describe_is_named(caller: Caller, name: str) -> None:
    """Each body that is JSON and yet wrong is 400 with a pointer to the culprit."""
    body, pointer = WRONG[name]

    problem = _refused(send(caller, posted(caller, body)), "validation")

    assert pointer in [each["pointer"] for each in problem["errors"]]
    good(caller)


def test_a_problem_stays_small_whatever_a_stranger_makes_up(caller: Caller) -> None:
    """Unknown members with long names are counted up to a thousand; as many are named as fit into 4 KiB."""
    names = {f"{number}-{'ü' * 300}": number for number in range(2_000)}

    problem = _refused(
        send(caller, posted(caller, json.dumps({"instances": [{"age": 50} | names]}).encode())), "validation"
    )

    assert problem["detail"].startswith("more than 1000 violations")
    assert 10 < len(problem["errors"]) <= 20


TYPES = {
    "none": (),
    "empty": ("Content-Type: ",),
    "text": ("Content-Type: text/plain",),
    "any": ("Content-Type: */*",),
    "json of another kind": ("Content-Type: application/problem+json",),
    "lines": ("Content-Type: application/x-ndjson",),
    "a form": ("Content-Type: application/x-www-form-urlencoded",),
    "a multipart form": ("Content-Type: multipart/form-data; boundary=x",),
    "two in one": ("Content-Type: application/json, text/plain",),
    **{f"charset {each}": (f"Content-Type: application/json;charset={each}",) for each in (
        "utf-16", "utf-7", "unicode_escape", "latin-1", "bogus", "hex", "punycode", "", "utf-8;charset=utf-16")},
    "another parameter": (f"{JSON}; version=1",),
    **{f"coded {each}": (JSON, f"Content-Encoding: {each}") for each in ("gzip", "br", "zstd", "identity, gzip")},
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_only_json_in_utf_8_is_read(caller: Caller, name: str) -> None:
    """Any other type, charset or coding is 415 with what can be sent, and nothing is decoded."""
    body = b"\x1f\x8b\x08" + bytes(1000) if "coded" in name else BODY

    answer = send(caller, raw(caller, *TYPES[name], f"Content-Length: {len(body)}", body=body))

    _refused(answer, "unsupported-media-type")
    assert (answer.headers["Accept"], answer.headers["Accept-Encoding"]) == ("application/json", "identity")
    good(caller)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200), ("*/*", 200), ("application/*", 200), ("Application/JSON; charset=utf-8", 200),
        ("text/html, application/xhtml+xml, */*;q=0.8", 200), ("application/json;q=0.001", 200), ("image/png", 406),
        ("*/*;q=0", 406), ("application/json;q=0, */*", 406), ("application/*;q=0, text/html", 406), ("text/*", 406),
        ("application/json;q=2", 406), ("application/json;q=x", 406), ("json", 406), (",,,", 406),
        ("text/html;q=0.9,application/json;q=0.0", 406), ("application/json;q=0.000;x=1", 406),
    ],
)  # fmt: skip
def test_accept_is_honoured_with_its_weights(caller: Caller, accept: str, status: int) -> None:
    """A range covers by being specific, a weight of nought excludes, and errors ignore it all."""
    answer = send(caller, got(caller, "/v1/models", f"Accept: {accept}"))

    assert answer.status == status
    if status == 406:
        _refused(answer, "not-acceptable")
    assert send(caller, got(caller, "/v1/nothing", f"Accept: {accept}")).type == "not-found"


def test_naughty_strings_are_only_strings(caller: Caller) -> None:
    """Each is stored and read back to the letter as a reference, and finds itself and nothing else."""
    for text in NAUGHTY:
        answer = caller.send("housing", json.dumps({"instances": [{"age": 50, "reference": text}]}).encode())
        if answer.status_code == 400:
            assert any(ord(character) < 0x20 or character == "\x7f" for character in text), (
                text,
                answer.text,
            )
            continue
        made = answer.json()["predictions"][0]
        found = caller.http.get("/v1/predictions", params={"reference": text})
        assert made["reference"] == text
        assert [each["id"] for each in found.json()["predictions"]] == [made["id"]], text
        assert caller.http.get(f"/v1/predictions/{made['id']}").json()["instance"]["reference"] == text


def test_naughty_strings_name_no_version_and_no_page(service: Service, caller: Caller) -> None:
    """As a model, an alias, a cursor, a filter, a header each is refused or finds nothing; each request is one line."""
    before, nowhere = len(service.log()), 0
    for text in NAUGHTY:
        for query in ("label", "cursor", "client", "version", "from", "limit"):
            answer = caller.http.get("/v1/predictions", params={query: text})
            assert answer.status_code in (200, 400, 403, 404), (query, text)
            assert answer.status_code != 200 or query in ("label", "version", "limit"), (query, text)
        body = json.dumps({"instances": [{"age": 50}], "alias": text}).encode()
        assert caller.send("housing", body).status_code in (400, 404), text
        headers = {
            "Accept-Language": text.encode(),
            "User-Agent": text.encode(),
            "X-Request-Id": text.encode(),
        }
        if (
            not any(ord(character) < 0x20 or character == "\x7f" for character in text)
            and text == text.strip()
        ):
            assert caller.http.get("/v1/nothing", headers=headers).status_code == 404
            nowhere += 1
    wait(
        lambda: (
            service.log()[before:].count('"path":"/v1/nothing"') == nowhere and service.log().endswith("\n")
        )
    )
    said = [json.loads(line) for line in service.log()[before:].splitlines()]
    assert all(each["status"] < 500 for each in said if each["event"] == "answered")


def test_a_category_nobody_knows_is_named(caller: Caller) -> None:
    """A text where the contract lists the categories is 400 with its place, never a failure."""
    content = caller.http.get("/openapi.json").json()["paths"]["/v1/models/income/predictions"]["post"][
        "requestBody"
    ]
    instance = next(iter(content["content"]["application/json"]["examples"].values()))["value"]["instances"][
        0
    ]
    for text in NAUGHTY:
        answer = caller.predict("income", instance | {"workclass": text})
        assert answer.status_code == 400, (text, answer.text)
        assert answer.json()["errors"][0]["pointer"] == "/instances/0/workclass"


SQL = [
    "'; DROP TABLE record;--",
    "' OR 1=1--",
    "%' UNION SELECT 1--",
    "\\",
    "_",
    "%",
    "$1",
    ":x",
    "??",
    "\x01",
    "\x00",
]


@pytest.mark.parametrize("text", SQL)
def test_sql_is_text(caller: Caller, text: str) -> None:
    """In every filter SQL means its letters: nothing is found, nothing is gone."""
    for query in ("reference", "label", "model", "version", "client", "from", "score_min", "cursor"):
        answer = caller.http.get("/v1/predictions", params={query: text})
        assert answer.status_code in (200, 400, 403, 404), (query, text)
        assert all(each[query] == text for each in answer.json().get("predictions", [])), (query, text)
    good(caller)


def test_the_answer_to_a_good_request_is_what_the_contract_says(caller: Caller) -> None:
    """Odd but legal spellings of a good body are answered: blanks around it, escapes in it, an integer as 50.0."""
    for body in (
        b' \t\r\n{"instances" : [ {"age" : 50} ] } \n',
        b'{"\\u0069nstances":[{"\\u0061ge":50}]}',
        around(b"50.0"),
        around(b"5e1"),
    ):
        answer = caller.send("housing", body)
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == f"/v1/records/{answer.json()['record']}", HOUSING
