"""Models that fail while they serve, and versions that are refused, over HTTP: nobody else pays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from click.testing import CliRunner

from models import sign
from tests.artefacts import (
    MODEL,
    Shelf,
    always_two,
    crashing,
    hanging,
    log_lines,
    nearest,
    undefined,
)
from tests.engines import recorded, settings_of, wait_for
from tests.service import Caller, Service

DEADLINE_S = 3
HONEST = 24.901049393513087  # what version 1 answers to an age of 50


@pytest.fixture(scope="module")
def service(short_folder: Path) -> Iterator[Service]:
    """Serve housing 1, and three versions whose golden answers are right and whose others are not."""
    var = short_folder / "misbehaving"
    var.mkdir()
    shelf = Shelf(var / "store")
    shelf.put_estimator("undefined", undefined(), [(1.0, 24.0)])
    shelf.put_estimator("always-two", always_two(), [(0.0, 30.0), (100.0, 20.0)])
    shelf.put_estimator("hanging", hanging(), [(1.0, 24.0)])
    shelf.put_estimator("nearest", nearest(), [(1.0, 24.0)])
    shelf.put_estimator("deadly", crashing(), [(60.0, 20.0)])
    service = Service(
        var, ONRECORD_STORE=str(shelf.store), ONRECORD_ANSWER_DEADLINE_S=str(DEADLINE_S), ONRECORD_DRAIN_S="1"
    ).set_up()
    try:
        yield service.start()
    finally:
        service.kill()


@pytest.fixture
def caller(service: Service) -> Iterator[Caller]:
    """Sign in as an ordinary caller, whom the champion has to answer in the end."""
    with service.caller() as caller:
        yield caller
        assert price(caller.predict(MODEL, {"age": 50})) == HONEST


def price(answer: httpx.Response) -> float:
    """Read the one price of an answer."""
    assert answer.status_code == 201, answer.text
    return float(answer.json()["predictions"][0]["price"])


@pytest.mark.parametrize("version", ["undefined", "always-two"])
def test_an_answer_that_is_none_is_a_recorded_500(service: Service, caller: Caller, version: str) -> None:
    """NaN for one row, or two answers for one, is the model's fault: 500 to its caller, and on record as such."""
    answer = caller.predict(MODEL, {"age": 50}, version=version)

    assert answer.status_code == 500, answer.text
    assert answer.json()["type"].endswith("/prediction-failed")
    found = recorded(settings_of(service.var), UUID(answer.json()["record"]))
    assert (found.status, found.output) == (500, answer.content)
    failures = log_lines(service.log(), "prediction-failed")
    assert [version] == [each["version"] for each in failures if each["record"] == answer.json()["record"]]


def test_a_version_without_reasons_answers_without_them(service: Service, caller: Caller) -> None:
    """What cannot be explained exactly is a recorded 422 that names `explain` and why; without it, it answers."""
    answer = caller.predict(MODEL, {"age": 1}, version="nearest", explain=True)

    assert answer.status_code == 422, answer.text
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/explain"]
    assert "KNeighborsRegressor" in answer.json()["errors"][0]["detail"]
    assert recorded(settings_of(service.var), UUID(answer.json()["record"])).output == answer.content
    assert price(caller.predict(MODEL, {"age": 1}, version="nearest")) == 24.0


def test_only_the_row_that_fails_fails(caller: Caller) -> None:
    """The same version answers the questions that it can answer."""
    assert price(caller.predict(MODEL, {"age": 20}, version="undefined")) == 24.0


def test_a_model_that_hangs_is_a_503_without_a_record(service: Service, caller: Caller) -> None:
    """Its callers wait for the deadline and no longer; everyone else is answered meanwhile and afterwards."""
    before = httpx.get(f"{service.url}/health/ready").json()
    answer = caller.predict(MODEL, {"age": 50}, version="hanging")

    assert answer.status_code == 503, answer.text
    assert answer.json()["type"].endswith("/prediction-timeout")
    assert "retry-after" in answer.headers
    assert price(caller.predict(MODEL, {"age": 50})) == HONEST
    assert caller.predict(MODEL, {"age": 20}, version="hanging").status_code == 503
    assert before == httpx.get(f"{service.url}/health/ready").json()
    assert log_lines(service.log(), "refused-late")


def test_a_version_that_kills_its_process_is_refused_by_the_engine_that_goes_on(
    service: Service, caller: Caller
) -> None:
    """Registering it through a running engine is refused with the reason there, in the log, and no engine dies."""
    shelf = Shelf(service.var / "store")
    shelf.put_estimator("crashing", crashing(), [(1.0, 24.0)])
    refused = service.command("model", "register", MODEL, "crashing", check=False)

    assert refused.returncode == 2
    assert "was ended by SIGSEGV" in refused.stderr
    assert "SIGSEGV" in log_lines(service.log(), "change-refused")[-1]["reason"]
    assert log_lines(service.log(), "engine-died") == []
    assert caller.predict(MODEL, {"age": 1}, version="crashing").status_code == 404


def test_a_version_that_kills_where_it_is_asked_is_a_recorded_500(service: Service, caller: Caller) -> None:
    """Once it is busy, what would kill the engine kills a process of its own; that is logged, and it goes on."""
    old, young = [{"age": 60}] * 4, [{"age": 10}] * 4

    def is_elsewhere() -> bool:
        caller.predict(MODEL, *old, version="deadly")
        return bool(log_lines(service.log(), "asked-elsewhere"))

    wait_for(is_elsewhere)
    answers: list[httpx.Response] = []

    def is_answered() -> bool:
        answers.append(caller.predict(MODEL, *young, version="deadly"))
        return answers[-1].status_code != 503  # a busy machine was late

    wait_for(is_answered)
    answer = answers[-1]

    assert answer.status_code == 500, answer.text
    assert recorded(settings_of(service.var), UUID(answer.json()["record"])).output == answer.content
    wait_for(lambda: caller.predict(MODEL, {"age": 60}, version="deadly").status_code == 201)
    lost = log_lines(service.log(), "elsewhere-lost")
    assert {(each["model"], each["version"]) for each in lost} == {(MODEL, "deadly")}
    assert {each["end"] for each in lost} == {"was ended by SIGSEGV"}
    assert log_lines(service.log(), "engine-died") == []


def test_a_version_that_was_exchanged_never_serves(service: Service) -> None:
    """An engine that starts over an exchanged manifest refuses that version with both digests, and serves the rest."""
    shelf = Shelf(service.var / "store")
    registered = shelf.registered("always-two").manifest
    blob = (shelf.folder("always-two") / "model.pkl").read_bytes()
    shelf.put("always-two", blob, title="Exchanged")
    service.stop()
    service.start()

    with service.caller() as caller:
        answer = caller.predict(MODEL, {"age": 50}, version="always-two")
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "model-refused")
        assert price(caller.predict(MODEL, {"age": 50})) == HONEST
        shown = caller.http.get(f"/v1/models/{MODEL}/versions/always-two").json()
    reason = log_lines(service.log(), "model-refused")[-1]["reason"]
    assert f"registered is {registered}" in reason
    assert "restore the registered file" in reason
    assert "metrics" not in shown  # what an exchanged manifest claims is not shown either


def test_publishers_are_asked_at_start_registration_and_promotion(service: Service, tmp_path: Path) -> None:
    """Once publishers are configured, what they have not signed does not load, register or take an alias."""
    shelf = Shelf(service.var / "store")
    key = tmp_path / "key"
    published("keygen", str(key))
    for model in ("credit", "income", "iris", "two-features", MODEL):
        published(model, "1", "--key", str(key), "--store", str(shelf.store))
    service.stop()
    service.environment["ONRECORD_PUBLISHERS"] = f"{key}.pub"
    service.start()
    shelf.put("new", (shelf.folder() / "model.pkl").read_bytes())
    with service.caller() as caller:
        unsigned = caller.predict(MODEL, {"age": 20}, version="undefined")
        refused = [
            service.command("model", *change, check=False)
            for change in (("promote", MODEL, "undefined"), ("register", MODEL, "new"))
        ]
        published(MODEL, "new", "--key", str(key), "--store", str(shelf.store))
        for change in ("register", "promote"):
            service.command("model", change, MODEL, "new")
        signed = caller.predict(MODEL, {"age": 50})

    assert unsigned.json()["type"].endswith("/model-refused")
    assert [(each.returncode, "signature cannot be opened" in each.stderr) for each in refused] == [
        (2, True)
    ] * 2
    assert (price(signed), signed.json()["version"]) == (HONEST, "new")


def published(*arguments: str) -> None:
    """Run `python -m models.sign …` where versions are made."""
    done = CliRunner().invoke(sign.main, arguments)
    assert done.exit_code == 0, done.output
