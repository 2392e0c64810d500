"""What really happened is reported by whoever knows it, corrected as often as it must be, and on record every time."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests import auditor, holder, reporting
from tests.conftest import DATABASES
from tests.reporting import predicted, problem, put
from tests.service import Caller, Service

NOTHING = "0192f0c1-7c1e-7000-8000-000000000000.0"
LATER, EARLIER = "2126-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def reporter(service: Service) -> Iterator[Caller]:
    """Sign in as a program that predicts and reports; in the end the ledger is audited against all it was answered."""
    with reporting.reporter(service) as caller:
        yield caller
    assert auditor.audit(service.database_url, caller.seen) == []


def one(caller: Caller, model: str = "housing") -> str:
    """Make one prediction and return its id."""
    return predicted(caller, model)[0]


def test_an_outcome_is_on_record_with_its_proof(service: Service, reporter: Caller) -> None:
    """201 is the record's exact output, which the receipt proves; the prediction shows what happened."""
    prediction = one(reporter)

    answer = put(reporter, prediction, 27.5)

    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert (said["prediction"], said["model"], said["version"], said["value"]) == (
        prediction,
        "housing",
        "1",
        27.5,
    )
    assert said["observed_at"] == said["reported_at"]
    record = reporter.http.get(answer.headers["location"]).json()
    assert (record["kind"], base64.b64decode(record["output"])) == ("outcome", answer.content)
    held = holder.of_header(answer.headers["onrecord-receipt"])
    key = (service.var / "ledger.pub").read_text()
    asked = base64.b64decode(record["input"])
    assert str(holder.check(held, key, asked, answer.content)) == said["record"]
    shown = reporter.http.get(f"/v1/predictions/{prediction}").json()
    assert (shown["has_outcome"], shown["outcome"]) == (True, 27.5)
    found = reporter.find(has_outcome="true")[0]
    assert (found["id"], found["outcome"]) == (prediction, 27.5)


def test_a_correction_is_a_record_and_the_newest_counts(reporter: Caller) -> None:
    """200 is a correction; what was said before stays on record, the newest first."""
    prediction = one(reporter, "iris")
    first, second = put(reporter, prediction, "setosa"), put(reporter, prediction, "virginica")

    known = reporter.http.get(f"/v1/predictions/{prediction}/outcome").json()

    assert (first.status_code, second.status_code) == (201, 200)
    assert (known["value"], known["record"]) == ("virginica", second.json()["record"])
    assert [each["value"] for each in known["history"]] == ["virginica", "setosa"]
    assert {each["client"] for each in known["history"]} == {reporter.client_id}


def test_the_same_again_is_no_news(reporter: Caller) -> None:
    """Nothing is recorded of what is known already: 200 with the first record, and no receipt."""
    prediction = one(reporter)
    first, again = put(reporter, prediction, 27.5), put(reporter, prediction, "27.50")
    at = first.json()["observed_at"]

    assert (again.status_code, again.json()) == (200, first.json())
    assert "location" not in again.headers
    assert put(reporter, prediction, 27.5, observed_at=at).json() == first.json()
    history = reporter.http.get(f"/v1/predictions/{prediction}/outcome").json()["history"]
    assert len(history) == 1


def test_a_key_makes_sending_again_safe(reporter: Caller) -> None:
    """The same request under its key has the same answer, and another body is refused."""
    prediction, key = one(reporter), {"Idempotency-Key": uuid.uuid4().hex}
    first = put(reporter, prediction, 27.5, headers=key)
    put(reporter, prediction, 28.5)

    again, other = put(reporter, prediction, 27.5, headers=key), put(reporter, prediction, 1, headers=key)

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["onrecord-receipt"] == first.headers["onrecord-receipt"]
    assert problem(other) == (422, "key-reused")


def test_only_what_was_seen_is_corrected(reporter: Caller) -> None:
    """If-Match holds for what was read, If-None-Match: * for what nobody has reported; else 412, and no record."""
    prediction = one(reporter)
    address = f"/v1/predictions/{prediction}/outcome"
    assert put(reporter, prediction, 1, headers={"If-None-Match": "*"}).status_code == 201
    seen = {"If-Match": reporter.http.get(address).headers["etag"]}

    refused = [
        put(reporter, prediction, 2, headers=each) for each in ({"If-None-Match": "*"}, {"If-Match": '"x"'})
    ]
    done = put(reporter, prediction, 3, headers=seen)

    assert [problem(each) for each in refused] == [(412, "precondition-failed")] * 2
    assert done.status_code == 200
    assert problem(put(reporter, prediction, 4, headers=seen)) == (412, "precondition-failed")
    assert [each["value"] for each in reporter.http.get(address).json()["history"]] == [3, 1]


@pytest.mark.parametrize(
    ("model", "body", "pointer"),
    [
        ("income", {"value": "rich"}, "/value"),
        ("housing", {"value": "nan"}, "/value"),
        ("housing", {"value": ">50K"}, "/value"),
        ("housing", {"value": 1, "observed_at": EARLIER}, "/observed_at"),
        ("housing", {"value": 1, "observed_at": LATER}, "/observed_at"),
    ],
)
def test_what_cannot_have_happened_is_refused(
    reporter: Caller, model: str, body: dict[str, Any], pointer: str
) -> None:
    """No label of the model, no number, before the prediction or in the future: 422 says which."""
    refused = put(reporter, one(reporter, model), **body)

    assert problem(refused) == (422, "impossible-outcome")
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]


def test_labels_that_are_digits_may_come_as_numbers(reporter: Caller) -> None:
    """A label is recorded in the model's own spelling."""
    assert put(reporter, one(reporter, "two-features"), 1).json()["value"] == "1"


def test_another_clients_prediction_is_not_there(service: Service, reporter: Caller, admin: Caller) -> None:
    """Unknown, beyond the request and another's are told apart by nothing; an auditor who may report reports on all."""
    theirs = one(admin)
    own = one(reporter)

    names = (theirs, NOTHING, own[:-1] + "1")
    refused = [put(reporter, each, 1) for each in names]
    unread = [reporter.http.get(f"/v1/predictions/{each}/outcome") for each in names]

    for answers in (refused, unread):
        assert [problem(each) for each in answers] == [(404, "not-found")] * 3
        assert len({each.json()["detail"] for each in answers}) == 1
    assert put(admin, own, 27.5).status_code == 201
    known = reporter.http.get(f"/v1/predictions/{own}/outcome").json()
    assert (known["value"], "client" in known, "client" in known["history"][0]) == (27.5, False, False)
    assert reporter.http.get(f"/v1/records/{known['record']}").status_code == 404


def test_reporting_needs_its_scope(service: Service, demo: Caller) -> None:
    """A caller without outcomes:write is 403, however the report is made."""
    demo.sign_in("predict predictions:read")
    prediction = one(demo)
    many = demo.http.post("/v1/outcomes", json={"outcomes": [{"prediction": prediction, "value": 1}]})

    assert problem(put(demo, prediction, 1)) == problem(many) == (403, "forbidden")
    assert demo.http.get(f"/v1/predictions/{prediction}/outcome").status_code == 404


def test_an_erased_prediction_takes_outcomes(reporter: Caller, admin: Caller) -> None:
    """Its outcome goes with it; one that is reported afterwards is kept, and what was asked stays gone."""
    prediction = one(reporter)
    put(reporter, prediction, 27.5)
    asked = {"select": {"prediction": prediction}, "ground": "data-subject-request", "reason": "letter"}
    erased = admin.http.post("/v1/erasures", json=asked).json()
    address = f"/v1/predictions/{prediction}/outcome"
    gone = reporter.http.get(address).json()

    late = put(reporter, prediction, 28.5)

    assert (erased["records"], erased["derived"]) == (2, 1)
    assert ("value" in gone, gone["erased"], gone["history"][0]["erased"]) == (False, True, True)
    assert late.status_code == 200
    assert reporter.http.get(address).json()["value"] == 28.5
    assert reporter.http.get(f"/v1/predictions/{prediction}").status_code == 410
    found = reporter.find(has_outcome="true")[0]
    assert (found["erased"], found["outcome"]) == (True, 28.5)


@pytest.mark.parametrize("service", DATABASES[:1], indirect=True)
def test_verify_finds_nothing_wrong(service: Service, reporter: Caller) -> None:
    """Outcomes, corrections and all, are what their records say."""
    prediction = one(reporter)
    for value in (1, 2):
        put(reporter, prediction, value)

    said = json.loads(service.command("verify", "--json", check=False).stdout)
    assert said["findings"] == [], said
