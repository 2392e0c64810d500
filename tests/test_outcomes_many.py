"""Many outcomes in one request: every row has its answer, and what is recorded is recorded in one piece."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests import auditor, holder, reporting
from tests.reporting import predicted, problem, put, report, statuses, upload
from tests.service import Caller, Service

CSV, NDJSON = "text/csv", "application/x-ndjson"


@pytest.fixture(scope="module")
def reporter(service: Service) -> Iterator[Caller]:
    """Sign in as a program that predicts and reports; in the end the ledger is audited against all it was answered."""
    with reporting.reporter(service) as caller:
        yield caller
    assert auditor.audit(service.database_url, caller.seen) == []


def named(count: int) -> list[str]:
    """Make references that nobody else uses."""
    return [f"o-{uuid.uuid4().hex}" for _ in range(count)]


def test_every_row_has_its_result(reporter: Caller, admin: Caller) -> None:
    """Recorded, corrected, unchanged, or refused with its reason, in the order of the rows."""
    one, twice, foreign, old = named(4)
    (first, *_) = predicted(reporter, "housing", one, twice, twice)
    (before,) = predicted(reporter, "iris", old)
    predicted(admin, "housing", foreign)
    put(reporter, before, "setosa")
    rows: list[dict[str, Any]] = [
        {"model": "housing", "reference": one, "value": 27.5},
        {"prediction": before, "value": "virginica"},
        {"model": "housing", "reference": twice, "value": 1},
        {"model": "housing", "reference": foreign, "value": 1},
        {"model": "income", "reference": one, "value": ">50K"},
        {"model": "nothing", "reference": one, "value": 1},
        {"prediction": first, "value": 28},
        {"prediction": first[:-1] + "1", "value": "many"},
        {"prediction": first[:-1] + "2", "value": 1, "observed_at": "2020-01-01T00:00:00Z"},
    ]

    answer = report(reporter, *rows)

    assert statuses(answer) == [
        *("recorded", "corrected", "ambiguous-reference", "unknown-prediction", "unknown-prediction"),
        *("unknown-prediction", "duplicate", "impossible-value", "observed-too-early"),
    ]
    said = answer.json()
    assert (answer.status_code, said["recorded"], said["unchanged"], said["refused"]) == (201, 2, 0, 7)
    assert [each["row"] for each in said["results"]] == list(range(9))
    assert said["results"][2]["detail"].startswith("2 predictions")
    again = report(reporter, *rows[:2])
    assert (again.status_code, statuses(again)) == (200, ["unchanged", "unchanged"])
    assert [each["record"] for each in again.json()["results"]] == [e["record"] for e in said["results"][:2]]


def test_each_outcome_is_a_record_and_so_is_the_answer(service: Service, reporter: Caller) -> None:
    """Every row leads to a record of its own; the receipt proves the answer that names them."""
    references = named(3)
    predicted(reporter, "housing", *references)
    answer = report(reporter, *({"model": "housing", "reference": each, "value": 1} for each in references))

    record = reporter.http.get(answer.headers["location"]).json()
    assert base64.b64decode(record["output"]) == answer.content
    held = holder.of_header(answer.headers["onrecord-receipt"])
    key = (service.var / "ledger.pub").read_text()
    asked = base64.b64decode(record["input"])
    assert str(holder.check(held, key, asked, answer.content)) == answer.json()["record"]
    for each in answer.json()["results"]:
        own = reporter.http.get(f"/v1/records/{each['record']}").json()
        said = json.loads(base64.b64decode(own["output"]))
        assert (own["kind"], said["prediction"], said["value"]) == ("outcome", each["prediction"], 1)


def test_a_key_makes_sending_many_again_safe(reporter: Caller) -> None:
    """Sent again under its key, a whole report has the same answer and makes no second record of anything."""
    (reference,) = named(1)
    (prediction,) = predicted(reporter, "housing", reference)
    key, row = uuid.uuid4().hex, {"model": "housing", "reference": reference, "value": 3}
    first = report(reporter, row, **{"Idempotency-Key": key})
    put(reporter, prediction, 4)
    again = report(reporter, row, **{"Idempotency-Key": key})

    assert (again.status_code, again.content) == (201, first.content)
    history = reporter.http.get(f"/v1/predictions/{prediction}/outcome").json()["history"]
    assert [each["value"] for each in history] == [4, 3]


@pytest.mark.parametrize("media", [CSV, NDJSON])
def test_other_formats_say_the_same(reporter: Caller, media: str) -> None:
    """CSV (with a spreadsheet's BOM, quotes, CRLF and empty cells) and NDJSON are read like JSON."""
    odd, plain = 'a "quoted", reference', "p"
    odd, plain = (f"{each} {uuid.uuid4().hex}" for each in (odd, plain))
    (first, _) = predicted(reporter, "income", odd, plain)
    quoted = odd.replace('"', '""')
    content = {
        CSV: "\ufeffprediction,model,reference,value,observed_at\r\n"
        f'{first},,,>50K,\r\n\r\n,income,"{quoted}",<=50K,\r\n,income,{plain},<=50K,\r\n',
        NDJSON: "\n".join(
            json.dumps(each)
            for each in (
                {"prediction": first, "value": ">50K"},
                {"model": "income", "reference": odd, "value": "<=50K"},
                {"model": "income", "reference": plain, "value": "<=50K"},
            )
        )
        + "\n\n",
    }[media]

    assert statuses(upload(reporter, media, content.encode())) == ["recorded", "duplicate", "recorded"]


@pytest.mark.parametrize(
    ("media", "content", "pointer"),
    [
        (CSV, "model,reference\nhousing,a\n", ""),
        (CSV, "model,reference,value,colour\nhousing,a,1,red\n", ""),
        (CSV, "model,reference,value\nhousing,a\n", "/outcomes/0"),
        (CSV, "model,reference,value\nhousing,,1\n", "/outcomes/0"),
        (CSV, "model,reference,value,observed_at\nhousing,a,1,yesterday\n", "/outcomes/0"),
        (CSV, 'model,reference,value\n"housing,a,1\n', ""),
        (CSV, "model,reference,value\n", "/outcomes"),
        (CSV, "\n", ""),
        (NDJSON, '{"model": "housing", "reference": "a", "value": 1}\n{"value": 1}\n', "/outcomes/1"),
        (NDJSON, "[1]\n", "/outcomes/0"),
        ("application/json", '{"outcomes": []}', "/outcomes"),
        ("application/json", '{"outcomes": [{"prediction": "x", "value": 1}]}', "/outcomes/0"),
    ],
)
def test_what_is_not_described_is_refused_whole(
    reporter: Caller, media: str, content: str, pointer: str
) -> None:
    """A row that is none refuses the request: 400 names it, and nothing is recorded."""
    refused = upload(reporter, media, content.encode())

    assert problem(refused) == (400, "validation")
    assert refused.json()["errors"][0]["pointer"] == pointer


def test_one_row_too_many_is_refused_whole(reporter: Caller) -> None:
    """10,000 rows are the most, in every format."""
    row = b"housing,a,1\n"

    assert (
        statuses(upload(reporter, CSV, b"model,reference,value\n" + row * 10_000))[9_999]
        == "unknown-prediction"
    )
    refused = upload(reporter, CSV, b"model,reference,value\n" + row * 10_001)
    assert (problem(refused), refused.json()["errors"][0]["pointer"]) == ((400, "validation"), "/outcomes")


@pytest.mark.parametrize(
    ("media", "content", "expected"),
    [
        ("text/plain", b"a", (415, "unsupported-media-type")),
        (CSV, b"model,reference,value\nhousing,\xff,1\n", (400, "validation")),
        (CSV, b"model,reference,value\nhousing,a\0,1\n", (400, "validation")),
        (NDJSON, b'{"value": 1, "value": 2}\n', (400, "malformed-json")),
    ],
)
def test_what_cannot_be_read_is_refused(
    reporter: Caller, media: str, content: bytes, expected: tuple[int, str]
) -> None:
    """Another format, no UTF-8, NUL, a member twice: never a fault of ours."""
    assert problem(upload(reporter, media, content)) == expected
