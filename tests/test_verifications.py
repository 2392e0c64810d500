"""A verification is started over HTTP, followed, cancelled and remembered; so is one that a command made."""

from __future__ import annotations

import base64
import csv
import os
import signal
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import auditor
from tests.engines import wait_for
from tests.pages import Person
from tests.service import Caller, Service, running
from tests.verifications import PATH, PATIENCE_S, ended, process_of, started_and_stopped

AGE = {"age": 50}


@pytest.fixture(scope="module")
def own(short_folder: Path) -> Iterator[Service]:
    """Run a service that may be killed, with a few predictions on record."""
    with running(short_folder / "verifications") as service, service.caller() as caller:
        for _ in range(3):
            assert caller.predict("housing", AGE).status_code == 201
        yield service


@pytest.fixture
def auditing(own: Service) -> Iterator[Caller]:
    """Sign in there with every scope."""
    with own.caller("admin") as caller:
        yield caller


def test_a_verification_is_started_and_ends_on_record(service: Service, admin: Caller) -> None:
    """It checks every record, says so, and is itself a record with exactly the bytes that are shown."""
    started = admin.http.post(PATH)
    assert started.status_code == 202, started.text
    name = started.json()["verification"]
    assert started.headers["Location"] == f"{PATH}/{name}"

    found = ended(admin, name)

    assert (found["state"], found["exit_code"], found["found"]) == ("finished", 0, 0), found
    assert (found["by"], found["via"]) == (admin.client_id, "api")
    assert found["checked"] == found["size"] >= found["anchored"] > 0
    record = admin.http.get(f"/v1/records/{name}").json()
    assert record["kind"] == "verification"
    assert base64.b64decode(record["output"]) == admin.http.get(f"{PATH}/{name}").content
    assert admin.http.get(PATH).json()["verifications"][0] == found


def test_what_is_new_is_verified_alone_and_says_so(own: Service, auditing: Caller) -> None:
    """It goes on from the last one that found nothing wrong, and says how many records it did not read."""
    started = [auditing.http.post(PATH)]
    whole = ended(auditing, started[0].json()["verification"])
    started.append(auditing.http.post(PATH, params={"of": "new"}))
    new = ended(auditing, started[1].json()["verification"])

    assert [each.status_code for each in started] == [202, 202]
    assert (whole["of"], whole["since"], whole["found"]) == ("everything", 0, 0)
    assert (new["of"], new["since"], new["found"]) == ("new", whole["size"], 0)
    assert new["checked"] == new["size"] > whole["size"]


def test_a_second_start_shows_the_one_that_runs(own: Service, auditing: Caller) -> None:
    """One runs at a time; whoever starts another is led to it. Cancelled, it says by whom, and that is on record."""
    with started_and_stopped(own, auditing) as (first, _):
        second = auditing.http.post(PATH)
        listed = auditing.http.get(PATH).json()["verifications"]
        cancelled = auditing.http.post(f"{PATH}/{first['verification']}/cancel")

    assert (second.status_code, second.json()["verification"]) == (200, first["verification"])
    assert (listed[0]["verification"], listed[0]["state"]) == (first["verification"], "running")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert cancelled.json()["detail"] == f"cancelled by {auditing.client_id}"
    assert auditing.http.get(f"/v1/records/{first['verification']}").status_code == 200
    assert auditing.http.post(f"{PATH}/{first['verification']}/cancel").json() == cancelled.json()


def test_a_killed_process_is_an_interrupted_verification(own: Service, auditing: Caller) -> None:
    """Nothing is claimed where its process died: it was interrupted, and how is said."""
    with started_and_stopped(own, auditing) as (first, pid):
        os.kill(pid, signal.SIGKILL)
        found = ended(auditing, first["verification"])

    assert (found["state"], found["exit_code"]) == ("interrupted", 130)
    assert found["detail"] == "its process ended with exit code -9"
    with Person(own) as person:
        person.sign_in("admin")
        page = person.look(f"/console/ledger/verifications/{first['verification']}").text
        assert "Interrupted before it was done" in page
        assert "its process ended with exit code -9" in page
        assert "The last one ended without a verdict" in person.look("/console/ledger").text


def test_a_power_cut_is_an_interrupted_verification(own: Service, auditing: Caller) -> None:
    """Every process is killed in the middle: the next start says so on record, once, and the old process is gone."""
    with started_and_stopped(own, auditing) as (first, pid):
        own.kill()
        os.kill(pid, signal.SIGCONT)  # a stopped process cannot end by itself
    own.start()
    with own.caller("admin") as again:
        found = ended(again, first["verification"])
        names = [each["verification"] for each in again.http.get(PATH).json()["verifications"]]

    assert (found["state"], found["detail"]) == ("interrupted", "the engine that ran it ended before it did")
    assert names.count(first["verification"]) == 1
    assert auditor.audit(own.database_url) == []


def test_pages_of_verifications_follow_each_other(own: Service, auditing: Caller) -> None:
    """Page by page nothing is left out and nothing comes twice; what is no verification leads nowhere."""
    for _ in range(2):
        assert own.command("verify").returncode == 0
    everything = [each["verification"] for each in auditing.http.get(PATH).json()["verifications"]]

    walked: list[str] = []
    query: dict[str, str | int] = {"limit": 1}
    while query:
        page = auditing.http.get(PATH, params=query).json()
        walked += [each["verification"] for each in page["verifications"]]
        query = {"limit": 1, "before": page["next"]} if "next" in page else {}

    with Person(own) as person:
        person.sign_in("admin")
        file = person.look("/console/ledger/verifications?format=csv&before=" + everything[0]).text
    assert [row["verification"] for row in csv.DictReader(file.splitlines())] == everything
    assert len(everything) >= 2
    assert walked == everything
    prediction = auditing.predict("housing", AGE).json()["record"]
    for wrong in (prediction, str(uuid.UUID(int=uuid.UUID(prediction).int ^ 1))):
        assert auditing.http.get(PATH, params={"before": wrong}).status_code == 404
        assert auditing.http.get(f"{PATH}/{wrong}").status_code == 404
        assert auditing.http.post(f"{PATH}/{wrong}/cancel").status_code == 404


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_who_may_not_audit_starts_nothing(service: Service, demo: Caller) -> None:
    """Without the scope, none of it answers."""
    name = f"{PATH}/0192f0c1-7c1e-7000-8000-000000000000"
    answers = [
        demo.http.post(PATH),
        demo.http.get(PATH),
        demo.http.get(name),
        demo.http.post(f"{name}/cancel"),
        demo.http.get("/v1/ledger/anchors"),
    ]

    assert [each.status_code for each in answers] == [403] * 5
    with Person(service) as person:
        person.sign_in("demo")
        assert person.send("/console/ledger/verifications", {}, seen="/").status_code == 403
        assert person.http.post("/console/ledger/verifications").status_code == 400
    assert process_of(service) is None


def test_what_a_command_found_is_remembered(own: Service, auditing: Caller) -> None:
    """The command only reads; the engine beside it notes who verified and what was found, also what was forged."""
    said = own.command("verify")
    noted = auditing.http.get(PATH).json()["verifications"][0]
    assert f"on record   as verification {noted['verification']}" in said.stdout
    assert (noted["by"], noted["via"], noted["exit_code"]) == ("command-line", "command", 0)

    with closing(sqlite3.connect(own.var / "onrecord.db", isolation_level=None)) as file:
        (idx,) = file.execute("SELECT max(idx) FROM prediction").fetchone()
        file.execute("UPDATE prediction SET score = 99 WHERE idx = ?", [idx])
    assert own.command("verify", check=False).returncode == 1
    noted = auditing.http.get(PATH).json()["verifications"][0]
    started = auditing.http.post(PATH).json()["verification"]
    found = ended(auditing, started)

    for each in (noted, found):
        assert (each["exit_code"], each["found"]) == (1, 1)
        assert (each["findings"][0]["at"], each["findings"][0]["cause"]) == (idx, "prediction")
        assert "99.0" in each["findings"][0]["detail"]
    with Person(own) as person:
        person.sign_in("admin")
        place = person.look(f"/console/ledger/verifications/{started}")
        assert f"Changed: 1 finding in {found['checked']} records, the first at record {idx}" in place.text
        file = person.look(f"/console/ledger/verifications/{started}?format=csv").text
        assert "Changed: 1 finding" in person.look("/console/ledger").text
    assert [line.split(",")[:2] for line in file.splitlines()] == [["at", "cause"], [str(idx), "prediction"]]


def test_what_a_verification_quotes_can_be_erased(own: Service, auditing: Caller) -> None:
    """A finding may quote somebody's value, so the record of a verification can be erased, and stays countable."""
    assert own.command("verify", check=False).returncode in (0, 1)
    name = auditing.http.get(PATH).json()["verifications"][0]["verification"]
    body = {"select": {"record": name}, "ground": "data-subject-request", "reason": "letter 19"}

    assert auditing.http.post("/v1/erasures", json=body).status_code == 201

    assert auditing.http.get(f"{PATH}/{name}").status_code == 410
    assert name not in [each["verification"] for each in auditing.http.get(PATH).json()["verifications"]]
    assert auditing.http.get(PATH, params={"before": name}).status_code == 200
    again = auditing.http.post(PATH).json()["verification"]
    assert {each["cause"] for each in ended(auditing, again).get("findings", [])} <= {"prediction"}


def test_anchors_say_whether_they_agree(own: Service, auditing: Caller) -> None:
    """The anchor file's newest checkpoint, when it was written, and that the ledger has grown from it; no witness."""

    def agrees() -> bool:
        found = auditing.http.get("/v1/ledger/anchors").json()
        return bool(found["anchor"].get("size") == found["size"])

    wait_for(agrees, PATIENCE_S)
    found = auditing.http.get("/v1/ledger/anchors").json()

    assert found["anchor"]["file"] == "anchor.log"
    assert (found["anchor"]["agrees"], found["anchor"]["same_disk"]) == (True, True)
    assert found["witnesses"] == []
    with (own.var / "anchor.log").open("a") as file:
        file.write("not a note\n")
    found = auditing.http.get("/v1/ledger/anchors").json()
    assert not found["anchor"]["agrees"]
    assert "ends in a checkpoint of another ledger" in found["anchor"]["detail"]
