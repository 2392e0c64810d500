"""The engine in trouble: whatever is wrong with one request, model, ledger or door costs nobody else anything."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api.settings import Settings
from db.ledger import Ledger
from models.model import Model, Prediction, PredictionFailed, PredictionLost, Rows
from tests.engines import (
    PATIENCE_S,
    Broken,
    Slow,
    engine_in_thread,
    is_recorded,
    recorded,
    settings_of,
    wait_for,
)

pytest_plugins = ("tests.deployments",)

Predict = Callable[[Model, Rows], list[Prediction]]


def test_a_model_that_fails_fails_only_the_culprit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a joint prediction fails, the request that makes it fail gets a recorded 500, everyone else their answer."""
    honest: Predict = Model.predict

    def failing(model: Model, rows: Rows) -> list[Prediction]:
        if 13 in rows.columns[0]:
            raise PredictionFailed("thirteen")
        return honest(model, rows)

    with engine_in_thread(settings) as door:
        door.predict("housing", {"age": 1})  # loaded, with its golden answers, before it starts to fail
        monkeypatch.setattr(Model, "predict", failing)
        numbers = {age: door.send("housing", {"age": age}) for age in range(1, 40)}
        statuses = {age: door.receive(number)[0].status for age, number in numbers.items()}
        culprit = door.answers[numbers[13]]

    assert {age: status for age, status in statuses.items() if status != 201} == {13: 500}
    assert ("prediction-failed", str(door.records[numbers[13]])) == (
        culprit.problem,
        culprit.content["record"],
    )
    assert culprit.body == recorded(settings, door.records[numbers[13]]).output


def test_what_a_process_died_of_is_asked_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for the culprit by asking again: who was asked with it gets a recorded 500, too."""
    honest: Predict = Model.predict
    asked = []

    def failing(model: Model, rows: Rows) -> list[Prediction]:
        if 13 in rows.columns[0]:
            asked.append(len(rows))
            raise PredictionLost("thirteen")
        return honest(model, rows)

    with engine_in_thread(replace(settings, twin=False)) as door:
        door.predict("housing", {"age": 1})
        monkeypatch.setattr(Model, "predict", failing)
        numbers = {age: door.send("housing", {"age": age}) for age in range(1, 40)}
        statuses = {age: door.receive(number)[0].status for age, number in numbers.items()}

    failed = [age for age, status in statuses.items() if status == 500]
    assert 13 in failed
    assert asked == [len(failed)]
    assert all(recorded(settings, door.records[numbers[age]]).status == 500 for age in failed)


def test_a_slow_model_does_not_hold_up_another(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one model takes its time, another one answers."""
    honest: Predict = Model.predict
    gate = threading.Event()

    def slow(model: Model, rows: Rows) -> list[Prediction]:
        if model.manifest.model == "iris":
            gate.wait(PATIENCE_S + 10)
        return honest(model, rows)

    with engine_in_thread(settings) as door:
        wait_for(lambda: all(each["loaded"] for each in door.ask(do="state").content["models"]))
        monkeypatch.setattr(Model, "predict", slow)
        flower = json.loads((settings.store / "iris" / "1" / "manifest.json").read_text())["golden"][
            "instances"
        ][0]
        waiting = door.send("iris", flower)

        assert [door.predict("housing", {"age": 50}).status for _ in range(20)] == [201] * 20
        assert waiting not in door.answers
        gate.set()
        assert door.receive(waiting)[0].status == 201


def test_one_request_more_than_there_is_room_for_is_told_so_at_once(var: Path) -> None:
    """A full queue answers 503 with Retry-After without waiting, and records nothing; the others are not harmed."""
    settings = settings_of(var, ONRECORD_QUEUE_REQUESTS="3")
    ledgers: list[Slow] = []

    def slow(ledger: Ledger) -> Slow:
        ledgers.append(Slow(ledger))
        return ledgers[0]

    with engine_in_thread(settings, slow) as door:
        taken = [door.send("housing", {"age": 50}) for _ in range(3)]
        refused = door.send("housing", {"age": 50})
        answer = door.receive(refused)[0]
        ledgers[0].gate.set()

        assert [each.status for each in door.receive(*taken)] == [201] * 3
        assert door.predict("housing", {"age": 50}).status == 201
    assert (
        answer.status,
        answer.problem,
        answer.head["headers"],
    ) == (503, "overloaded", {"Retry-After": "1"})
    assert not is_recorded(settings, door.records[refused])


def test_a_request_that_waits_too_long_is_refused_and_not_recorded(
    var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that hangs costs its callers the deadline, not their patience, and nothing of it is on record."""
    settings = settings_of(var, ONRECORD_ANSWER_DEADLINE_S="1")
    honest: Predict = Model.predict
    gate = threading.Event()

    def hanging(model: Model, rows: Rows) -> list[Prediction]:
        gate.wait(PATIENCE_S + 10)
        return honest(model, rows)

    with engine_in_thread(settings) as door:
        door.predict("housing", {"age": 1})
        monkeypatch.setattr(Model, "predict", hanging)
        number = door.send("housing", {"age": 50})
        answer = door.receive(number)[0]
        monkeypatch.setattr(Model, "predict", honest)
        gate.set()

        assert door.predict("housing", {"age": 50}).status == 201
    assert (answer.status, answer.problem) == (503, "prediction-timeout")
    assert not is_recorded(settings, door.records[number])


def test_without_a_ledger_nothing_is_given_away_and_it_recovers_by_itself(settings: Settings) -> None:
    """While nothing can be recorded everyone gets 503 and no prediction; later answers come without a restart."""
    ledgers: list[Broken] = []

    def broken(ledger: Ledger) -> Broken:
        ledgers.append(Broken(ledger))
        return ledgers[0]

    with engine_in_thread(settings, broken) as door:
        refused = [door.predict("housing", {"age": 50}) for _ in range(3)]
        state = door.ask(do="state").content
        ledgers[0].is_mended = True
        answer = door.predict("housing", {"age": 50})

        assert door.ask(do="state").content["ledger"] == "writable"
    assert [(each.status, each.problem) for each in refused] == [(503, "audit-unavailable")] * 3
    assert all(b"price" not in each.body and each.head["headers"]["Retry-After"] for each in refused)
    assert state["ledger"].startswith("cannot be written")
    assert answer.status == 201


def test_a_record_that_cannot_be_stored_does_not_take_others_along(settings: Settings) -> None:
    """Two requests under one id: the second is refused, and those committed with it are answered."""
    with engine_in_thread(settings) as door:
        first = door.send("housing", {"age": 50})
        door.receive(first)
        twin = door.send("housing", {"age": 75}, record=str(door.records[first]))
        others = [door.send("housing", {"age": 60}) for _ in range(5)]

        assert [each.status for each in door.receive(*others)] == [201] * 5
        assert (door.receive(twin)[0].status, door.answers[twin].problem) == (500, "internal")


def test_an_unknown_version_is_not_found(settings: Settings) -> None:
    """A version or alias that is not registered is a 404 that names it, and reaches no model and no record."""
    with engine_in_thread(settings) as door:
        answers = [
            door.predict("housing", {"age": 50}, version="9"),
            door.predict("housing", {"age": 50}, alias="challenger"),
            door.predict("nothing", {"age": 50}),
        ]

    assert [(each.status, each.problem) for each in answers] == [(404, "not-found")] * 3
    assert answers[0].content["detail"] == "model housing has no version 9"


def test_a_version_that_is_not_what_was_registered_is_refused_and_the_others_serve(var: Path) -> None:
    """One changed byte of an artefact: requests for it get a problem, the state says why, other models answer."""
    store = var / "store"
    shutil.copytree("models/store", store)
    artefact = store / "iris" / "1" / "model.pkl"
    artefact.write_bytes(artefact.read_bytes()[:-1] + b"!")
    settings = settings_of(var, ONRECORD_STORE=str(store))

    with engine_in_thread(settings) as door:
        refused = door.predict("iris", {})
        fine = door.predict("housing", {"age": 50})
        state = {each["model"]: each for each in door.ask(do="state").content["models"]}

    assert (refused.status, refused.problem, fine.status) == (409, "model-refused", 201)
    assert (state["iris"]["state"], state["iris"]["loaded"]) == ("refused", False)
    assert "digest" in state["iris"]["reason"]


def test_a_body_the_contract_would_refuse_is_refused_politely(settings: Settings) -> None:
    """The doors have checked bodies already; one that slips through costs nobody anything."""
    with engine_in_thread(settings) as door:
        numbers = [door.send_body("housing", body) for body in (b"", b"{}", b"[1]", b'{"instances":[5]}')]
        statuses = [each.status for each in door.receive(*numbers)]

        assert door.predict("housing", {"age": 50}).status == 201
    assert statuses == [400] * 4


def test_a_frame_beyond_the_agreed_size_ends_its_connection_only(settings: Settings) -> None:
    """A door that speaks another protocol is cut off before its bytes are kept; other doors go on."""
    with engine_in_thread(settings) as door, socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(settings.engine_socket))
        stranger.settimeout(5)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert stranger.recv(100) == b""
        assert door.predict("housing", {"age": 50}).status == 201
