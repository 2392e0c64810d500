"""Replay: whatever is on record can be answered again by the artefact that answered it, and the answers compared."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import contract
from api.app import CONTRACT
from tests import holder
from tests.conftest import DATABASES
from tests.rigged import another_version, golden_instances
from tests.service import Caller, Service, running
from tests.test_twins import WAYS

MODELS = contract.read(CONTRACT, 10_000).models
NOTHING = "0192f0c1-7c1e-7000-8000-000000000000"


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """Run a service with a store of its own, whose artefacts can be moved away; and with time to replay."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    folder = short_folder / f"replay-{request.param}"
    store = short_folder / f"store-{request.param}"
    shutil.copytree("models/store", store)
    chosen = {"ONRECORD_STORE": str(store), "ONRECORD_REPLAY_DEADLINE_S": "100"}
    with running(folder, url, **chosen) as service:
        yield service
        said = json.loads(service.command("verify", "--json", check=False).stdout)
        assert said["findings"] == [], said


# What lies in the store, or runs beside replays, no database knows of.
on_one = pytest.mark.parametrize("service", ["sqlite"], indirect=True, scope="module")


def store_of(service: Service) -> Path:
    """Name the folder of the service's artefacts."""
    return Path(service.environment["ONRECORD_STORE"])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_answers_the_same_bytes_again(admin: Caller, model: str) -> None:
    """Three hundred rows in one request: the replay is identical, and says what ran then and now.

    Then a twin answered, and now the pickle. Only a graph (two-features) may be off, within the version's tolerance.
    """
    answer = admin.predict(model, *golden_instances(model, 300))

    replayed = admin.replay(answer.json()["predictions"][-1]["id"])

    assert replayed.status_code == 201, replayed.text
    said = replayed.json()
    assert said["tolerance"] == 1e-6
    assert said["recorded"] == {"status": 201, "body": answer.json()}
    if model == "two-features":
        assert said["verdict"] in ("identical", "equal")
        assert said.get("largest_difference", 0.0) < 1e-15
    else:
        assert (said["verdict"], said["difference_count"], said["differences"]) == ("identical", 0, [])
        assert said["recorded"] == said["replayed"]
    assert (said["model"], said["version"], said["record"]) == (model, "1", answer.json()["record"])
    then, now = said["environment"]["recorded"], said["environment"]["replayed"]
    assert (then["libraries"], then["process"]) == (now["libraries"], now["process"])
    assert (then["runtime"], now["runtime"]) == (f"twin:{WAYS[model]}", "pickle")
    assert then["twin"]["tolerance"] == 1e-6
    assert {"scikit-learn", "numpy"} <= then["libraries"].keys()


def test_a_replay_is_on_record_with_its_proof(service: Service, admin: Caller) -> None:
    """A replay leaves like a prediction: its exact bytes are on record, under the recorded artefact, with a receipt."""
    original = admin.predict("housing", {"age": 50}).json()["record"]

    answer = admin.replay(original)
    record = admin.http.get(answer.headers["location"]).json()

    said = answer.json()
    assert base64.b64decode(record["output"]) == answer.content
    assert (record["record"], record["kind"], record["status"]) == (said["replay"], "replay", 201)
    assert (record["model"], record["version"], record["digest"]) == ("housing", "1", said["digest"])
    assert (record["client"], record["meta"]["replays"]) == (admin.client_id, original)
    key = (service.var / "ledger.pub").read_text()
    held = holder.of_header(answer.headers["onrecord-receipt"])
    assert str(holder.check(held, key, b"", answer.content)) == said["replay"]


def test_twice_is_two_records(admin: Caller) -> None:
    """Replaying again is another event with another record, and the same verdict."""
    original = admin.predict("iris", *golden_instances("iris", 2)).json()["record"]

    first, second = admin.replay(original).json(), admin.replay(original).json()

    assert first["replay"] != second["replay"]
    assert first["verdict"] == second["verdict"] == "identical"


def test_an_old_version_is_replayed_after_another_was_promoted(service: Service, admin: Caller) -> None:
    """What a version answered is answered by that version, also when no alias means it any more."""
    another_version(store_of(service), "2")
    before = admin.predict("housing", {"age": 50}).json()
    for command in ("register", "promote"):
        service.command("model", command, "housing", "2")
    after = admin.predict("housing", {"age": 50}).json()
    try:
        old, new = admin.replay(before["record"]).json(), admin.replay(after["record"]).json()
    finally:
        service.command("model", "rollback", "housing")

    assert [(each["version"], each["verdict"]) for each in (old, new)] == [
        ("1", "identical"),
        ("2", "identical"),
    ]
    assert old["digest"] != new["digest"]
    assert (
        old["recorded"]["body"]["predictions"][0]["price"]
        != new["recorded"]["body"]["predictions"][0]["price"]
    )


@on_one
def test_a_changed_artefact_is_refused_by_its_digest(service: Service, admin: Caller) -> None:
    """One byte of the file is another: 409 names the digest on record and the one found, and nothing is recorded."""
    record = admin.predict("income", *golden_instances("income", 1)).json()["record"]
    file = store_of(service) / "income" / "1" / "model.pkl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"!")
    try:
        refused = admin.replay(record)
    finally:
        file.write_bytes(whole)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/artefact-refused")
    assert hashlib.sha256(whole).hexdigest() in refused.json()["detail"]
    assert hashlib.sha256(whole[:-1] + b"!").hexdigest() in refused.json()["detail"]
    assert admin.replay(record).json()["verdict"] == "identical"


@on_one
def test_a_changed_manifest_is_refused_by_its_digest(service: Service, admin: Caller) -> None:
    """A replay believes only the manifest that was registered: who relabels the answers relabels no replay."""
    record = admin.predict("income", *golden_instances("income", 1)).json()["record"]
    file = store_of(service) / "income" / "1" / "manifest.json"
    whole = file.read_bytes()
    file.write_bytes(whole + b" ")
    try:
        refused = admin.replay(record)
    finally:
        file.write_bytes(whole)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/artefact-refused")
    assert f"registered is {hashlib.sha256(whole).hexdigest()}" in refused.json()["detail"]


@on_one
def test_an_artefact_that_is_gone_is_refused(service: Service, admin: Caller) -> None:
    """Without the file there is nothing to replay with: 409 names the digest that is looked for."""
    answer = admin.predict("credit", *golden_instances("credit", 1)).json()
    digest = admin.http.get("/v1/models/credit/versions/1").json()["digest"]
    folder = store_of(service) / "credit"
    folder.rename(folder.with_name(".credit"))
    try:
        refused = admin.replay(answer["record"])
    finally:
        folder.with_name(".credit").rename(folder)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/artefact-refused")
    assert digest in refused.json()["detail"]


def test_only_predictions_are_replayed(admin: Caller) -> None:
    """A record that no model answered, such as that of a replay, is refused as such; nothing is not found."""
    original = admin.predict("housing", {"age": 50}).json()["record"]
    replay = admin.replay(original).json()["replay"]

    refused = admin.replay(replay)
    missing = [admin.replay(each) for each in (NOTHING, f"{NOTHING}.0", f"{original}.1")]

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-replayable")
    assert [each.status_code for each in missing] == [404] * 3
    assert [admin.replay(each).status_code for each in ("1", f"{original}.01")] == [400] * 2


def test_replaying_needs_the_scope_of_an_auditor(admin: Caller, service: Service) -> None:
    """Without audit:read it is 403, for one's own predictions, too; and no record of a replay is shown."""
    with service.caller("demo") as demo:
        own = demo.predict("housing", {"age": 50}).json()["record"]
        replay = admin.replay(own)
        refused = [demo.replay(each) for each in (own, NOTHING)]
        hidden = demo.http.get(replay.headers["location"])
    admin.sign_in("predictions:read")
    no_more = admin.http.get(replay.headers["location"])

    assert [(each.status_code, each.json()["type"]) for each in refused] == [(403, "/problems/forbidden")] * 2
    assert replay.json()["verdict"] == "identical"
    assert (hidden.status_code, no_more.status_code) == (404, 404)


@on_one
def test_predictions_go_on_while_replays_run(service: Service, admin: Caller) -> None:
    """Single rows of all models are replayed, and a caller beside that is answered every time."""
    originals = [admin.predict(each, *golden_instances(each, 1)).json()["record"] for each in MODELS]
    done = threading.Event()
    statuses: list[int] = []

    def call() -> None:
        with service.caller("demo") as demo:
            while not done.is_set():
                statuses.append(demo.predict("housing", {"age": 50}).status_code)

    calling = threading.Thread(target=call)
    calling.start()
    try:
        verdicts = [admin.replay(each).json()["verdict"] for each in originals]
    finally:
        done.set()
        calling.join()

    assert set(verdicts) <= {"identical", "equal"}
    assert len(verdicts) == len(MODELS)
    assert set(statuses) == {201}
    assert len(statuses) > len(MODELS)


def test_the_contract_says_the_tolerance() -> None:
    """What the contract calls equal is what the code compares with."""
    from api.engine.comparing import TOLERANCE

    document: Any = contract.read(CONTRACT, 10).document
    assert document["components"]["schemas"]["Replay"]["properties"]["tolerance"]["example"] == TOLERANCE
    assert "1e-9 absolute" in document["paths"]["/v1/predictions/{id}/replay"]["post"]["description"]
