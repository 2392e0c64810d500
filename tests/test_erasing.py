"""Erasures and holds as callers meet them: over HTTP and at the command line, while the service runs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.records import new_id
from tests.service import Caller, Service


def named() -> str:
    """Make a reference that nobody else uses."""
    return f"s-{uuid.uuid4().hex[:12]}"


def erase(caller: Caller, select: dict[str, str], **more: Any) -> httpx.Response:
    """Ask for an erasure."""
    body = {"select": select, "ground": "data-subject-request", "reason": "letter of 3 November", **more}
    return caller.http.post("/v1/erasures", json=body)


def slug(answer: httpx.Response) -> str:
    """Name the problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"]).rpartition("/")[2]


def receipt_holds(
    service: Service, folder: Path, answer: httpx.Response, *contents: tuple[str, bytes]
) -> bool:
    """Check a receipt as its holder does: offline, with the pinned key."""
    (folder / "headers.txt").write_text(f"OnRecord-Receipt: {answer.headers['onrecord-receipt']}\r\n")
    options = ["--key", str(service.var / "ledger.pub")]
    for option, content in contents:
        (folder / option).write_bytes(content)
        options += [f"--{option}", str(folder / option)]
    done = service.command("receipt", str(folder / "headers.txt"), *options, check=False)
    return done.returncode == 0


def test_an_erasure_is_answered_with_its_record(service: Service, admin: Caller, tmp_path: Path) -> None:
    """201 names the record and counts; its receipt proves these bytes, and what went is gone everywhere."""
    reference = named()
    asked = json.dumps({"instances": [{"age": 50, "reference": reference}, {"age": 60}]}).encode()
    predicted = admin.send("housing", asked)
    record = predicted.json()["record"]

    answer = erase(admin, {"reference": reference})

    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert answer.headers["location"].endswith(f"/v1/records/{said['record']}")
    assert {name: said[name] for name in ("records", "predictions", "dry_run")} == {
        "records": 1,
        "predictions": 2,
        "dry_run": False,
    }
    assert receipt_holds(service, tmp_path, answer, ("output", answer.content))
    assert not receipt_holds(service, tmp_path, answer, ("output", answer.content + b" "))
    assert receipt_holds(service, tmp_path, predicted, ("input", asked), ("output", predicted.content))
    shown = admin.http.get(f"/v1/records/{record}").json()
    assert shown.keys().isdisjoint({"input", "output", "meta"})
    (erased,) = shown["erased"]
    assert (erased["record"], erased["by"], erased["ground"]) == (
        said["record"],
        admin.client_id,
        "data-subject-request",
    )
    for path in (f"/v1/predictions/{record}.0", f"/v1/records/{record}/receipt"):
        gone = admin.http.get(path)
        assert (gone.status_code, slug(gone), gone.json()["erased"]) == (410, "erased", [erased])
    assert admin.find(reference=reference) == []
    (row,) = [
        each for each in admin.find(model="housing", client=admin.client_id) if each["id"] == f"{record}.1"
    ]
    assert row["erased"] is True
    assert row.keys().isdisjoint({"reference", "label", "score"})
    kept = admin.http.get(f"/v1/records/{said['record']}").json()
    assert (kept["kind"], kept["status"]) == ("erasure", 200)


def test_a_forgotten_caller_is_left_out(admin: Caller) -> None:
    """When who asked is erased, no answer names a client any more."""
    record = admin.predict("housing", {"age": 50}).json()["record"]
    assert erase(admin, {"record": record}, fields=["actor"]).status_code == 201

    shown = admin.http.get(f"/v1/records/{record}").json()
    assert shown.keys().isdisjoint({"client", "actor"})
    assert "client" not in admin.http.get(f"/v1/predictions/{record}.0").json()
    assert (
        admin.http.get("/v1/predictions", headers={"Accept": "text/csv"}, params={"limit": 5}).status_code
        == 200
    )


def test_a_dry_run_and_a_second_run_erase_nothing(admin: Caller) -> None:
    """200, and no record, where nothing was erased; a dry run counts what the real one erases."""
    reference = named()
    admin.predict("housing", {"age": 50, "reference": reference})

    dry, real, again = (
        erase(admin, {"reference": reference}, dry_run=is_dry) for is_dry in (True, False, False)
    )

    assert [each.status_code for each in (dry, real, again)] == [200, 201, 200]
    assert [each.json()["records"] for each in (dry, real, again)] == [1, 1, 0]
    assert "record" not in dry.json()
    assert "onrecord-receipt" not in dry.headers


def test_erasing_needs_its_scope(demo: Caller, admin: Caller) -> None:
    """A token without audit:erase erases and holds nothing, also not its own."""
    record = demo.predict("housing", {"age": 50}).json()["record"]

    assert erase(demo, {"record": record}).status_code == 403
    hold = {"select": {"record": record}, "reason": "r"}
    assert demo.http.post("/v1/holds", json=hold).status_code == 403
    assert demo.http.get("/v1/holds").status_code == 403
    assert "input" in demo.http.get(f"/v1/records/{record}").json()


WRONG: tuple[dict[str, Any], ...] = (
    {"select": {}},
    {"select": {"reference": "a", "record": str(new_id(1))}},
    {"select": {"model": "housing"}},
    {"select": {"client": "a", "model": "housing"}},
    {"select": {"older_than": "yesterday"}},
    {"ground": "because"},
    {"reason": None},
    {"reason": "line\nbreak"},
    {"fields": []},
    {"fields": ["input", "input"]},
    {"fields": ["leaf"]},
    {"after": -1},
    {"colour": "red"},
)


def test_a_wrong_erasure_is_refused_by_name(admin: Caller) -> None:
    """Whatever the contract does not describe is a problem, and nothing is erased."""
    taken = []
    for wrong in WRONG:
        answer = erase(admin, **{"select": {"reference": named()}, **wrong})
        if answer.status_code != 400 or slug(answer) != "validation":
            taken.append(wrong)

    assert taken == []


def test_what_must_stay_is_refused(admin: Caller) -> None:
    """Logs of the last six months, and what the ledger itself is made of, are erased by no mistake: 409."""
    young = erase(admin, {"older_than": "2999-01-01T00:00:00Z"})
    record = admin.predict("housing", {"age": 50}).json()["record"]
    own = erase(admin, {"record": erase(admin, {"record": record}).json()["record"]})

    assert [(each.status_code, slug(each)) for each in (young, own)] == [(409, "not-erasable")] * 2


def test_what_is_not_there_is_not_found(admin: Caller) -> None:
    """An unknown id is 404; a reference of nobody selects nothing."""
    assert slug(erase(admin, {"record": str(new_id(1))})) == "not-found"
    assert slug(erase(admin, {"prediction": f"{new_id(1)}.0"})) == "not-found"
    assert erase(admin, {"reference": named()}).json()["records"] == 0


def test_a_hold_forbids_and_is_lifted(admin: Caller) -> None:
    """What is held answers 409 with the hold; lifted, it goes; the list tells both."""
    reference = named()
    admin.predict("housing", {"age": 50, "reference": reference})
    held = admin.http.post("/v1/holds", json={"select": {"reference": reference}, "reason": "case 7"})
    assert held.status_code == 201, held.text
    hold = held.json()["hold"]

    refused = erase(admin, {"reference": reference})
    assert (refused.status_code, slug(refused)) == (409, "held")
    assert hold in refused.json()["detail"]
    lifted = admin.http.post(f"/v1/holds/{hold}/lift", json={"reason": "case closed"})
    assert lifted.status_code == 201
    assert admin.http.post(f"/v1/holds/{hold}/lift", json={"reason": "again"}).status_code == 404
    assert erase(admin, {"reference": reference}).status_code == 201
    (listed,) = [each for each in admin.http.get("/v1/holds").json()["holds"] if each["hold"] == hold]
    assert (listed["by"], listed["active"], listed["reason"]) == ("reference", False, "case 7")
    assert reference not in admin.http.get("/v1/holds").text


@pytest.mark.parametrize("is_running", [True, False])
def test_the_command_line_erases_and_holds(
    service: Service, admin: Caller, is_running: bool, short_folder: Path
) -> None:
    """With the engine or by hand, `erase` and `hold` do the same, and `verify` finds nothing."""
    reference = named()
    record = admin.predict("housing", {"age": 50, "reference": reference}).json()["record"]
    if not is_running:
        service.stop()
    try:
        hold = json.loads(
            service.command("hold", "add", "--reference", reference, "--reason", "case 7").stdout
        )["hold"]
        asked = ("erase", "--reference", reference, "--ground", "court-order", "--reason", "7 O 12/26")
        assert "held by" in service.command(*asked, check=False).stderr
        service.command("hold", "lift", hold, "--reason", "over")
        assert hold in service.command("hold", "list").stdout
        dry = json.loads(service.command(*asked, "--dry-run").stdout)
        done = json.loads(service.command(*asked).stdout)
        verified = service.command("verify", "--json", check=False)
    finally:
        if not is_running:
            service.start()

    assert (dry["records"], dry["erasures"]) == (1, [])
    assert (done["records"], len(done["erasures"])) == (1, 1)
    assert json.loads(verified.stdout)["findings"] == []
    assert admin.http.get(f"/v1/records/{record}").json()["erased"][0]["by"] == "command-line"


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_a_wrong_command_is_refused_in_one_line(service: Service) -> None:
    """What the command cannot do is one red line with the cure, exit code 2."""
    for arguments in (
        [],
        ["--reference", "a"],
        ["--reference", "a", "--record", str(new_id(1)), "--ground", "error"],
        ["--model", "housing", "--ground", "error"],
        ["--older-than", "soon", "--ground", "retention"],
        ["--older-than", "30d", "--ground", "retention"],
    ):
        done = service.command("erase", *arguments, check=False)

        assert done.returncode == 2, arguments
        assert len(done.stderr.strip().split("\n")) == 1, arguments
