"""Reasons on request: recorded with the answer, replayed with it, and at nobody else's expense."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest

from api import contract
from api.app import CONTRACT
from api.settings import Settings
from models.reasons import Reasons
from tests import auditor
from tests.engines import Door, engine_in_thread, recorded, settings_of
from tests.replaying import Deployment
from tests.rigged import golden_instances
from tests.service import Caller

pytest_plugins = ("tests.deployments",)

MODELS = contract.read(CONTRACT, 10_000).models
ADDED = {"base", "scale", "contributions"}


@pytest.fixture
def deployment(var: Path) -> Iterator[Deployment]:
    """Make a deployment with time for replays on a busy machine; afterwards its ledger is audited."""
    deployment = Deployment(settings_of(var, ONRECORD_REPLAY_DEADLINE_S="90"))
    yield deployment
    assert auditor.audit(deployment.settings.database_url) == []


def ask(door: Door, model: str, instance: dict[str, Any]) -> int:
    """Put a request for reasons on its way, as a door does."""
    return door.send_body(
        model, json.dumps({"instances": [instance], "explain": True}).encode(), explain=True
    )


def total(prediction: dict[str, Any]) -> float:
    """Add up what a caller gets."""
    return float(prediction["base"] + sum(each["contribution"] for each in prediction["contributions"]))


def score(prediction: dict[str, Any]) -> float:
    """Find the number that is explained, as the contract says it is."""
    if "probabilities" in prediction:
        return float(prediction["probabilities"][prediction["label"]])
    if "price" in prediction:
        return float(prediction["price"])
    return log(prediction["probability"] / (1 - prediction["probability"]))


@pytest.mark.parametrize("model", MODELS)
def test_every_example_is_explained_and_found_again(demo: Caller, model: str) -> None:
    """Each model tells every feature's value as it was sent and its contribution; they add up, and are on record."""
    for example in MODELS[model].examples:
        answer = demo.predict(model, *example["instances"], explain=True)

        assert answer.status_code == 201, answer.text
        for instance, one in zip(example["instances"], answer.json()["predictions"], strict=True):
            told = [(each["feature"], each["value"]) for each in one["contributions"]]
            assert told == [(name, instance[name]) for name in MODELS[model].features]
            assert total(one) == pytest.approx(score(one), abs=1e-9, rel=1e-9)
        first = answer.json()["predictions"][0]
        assert demo.http.get(f"/v1/predictions/{first['id']}").json()["prediction"] == first


def test_a_version_says_what_matters_to_it(demo: Caller) -> None:
    """The representation of a version has every feature's importance, by its mean absolute contribution."""
    features = {
        model: {
            each["name"]: each["importance"]
            for each in demo.http.get(f"/v1/models/{model}/versions/1").json()["features"]
        }
        for model in MODELS
    }

    assert max(features["iris"], key=features["iris"].__getitem__) == "petal_length"
    assert max(features["income"], key=features["income"].__getitem__) == "marital_status"
    assert all(each >= 0 for one in features.values() for each in one.values())


def test_the_explained_and_the_plain_are_answered_alike(settings: Settings) -> None:
    """Asked of the pickle together, requests with and without reasons differ in nothing but the reasons."""
    # Where a twin answers the plain ones, the last digits may be others: reasons are always the pickle's.
    with engine_in_thread(replace(settings, twin=False)) as door:
        pairs = [
            (door.send(model, instance), ask(door, model, instance))
            for model in ("income", "iris", "two-features")
            for instance in golden_instances(model, 20)
        ]
        answers = [[each.content["predictions"][0] for each in door.receive(*pair)] for pair in pairs]

    for plain, explained in answers:
        assert ADDED & set(plain) == set()
        assert set(explained) >= ADDED
        assert plain | {"id": ""} == {k: v for k, v in explained.items() if k not in ADDED} | {"id": ""}


def test_nobody_waits_for_anothers_reasons(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an explanation takes for ever, plain requests to the same version are answered, whoever came first."""
    gate, inside = threading.Event(), threading.Event()
    honest = Reasons.tell

    def slow(reasons: Reasons, *args: Any) -> Any:
        inside.set()
        assert gate.wait(20)
        return honest(reasons, *args)

    monkeypatch.setattr(Reasons, "tell", slow)
    with engine_in_thread(settings) as door:
        number = ask(door, "housing", {"age": 50})
        assert inside.wait(20)
        plain = door.predict("housing", {"age": 50})
        was_waiting = number not in door.answers
        gate.set()
        explained = door.receive(number)[0]

    assert (plain.status, explained.status, was_waiting) == (201, 201, True)


def test_the_record_holds_the_reasons(settings: Settings) -> None:
    """The exact bytes that left, reasons and all, are what is on record; their order is that of the features."""
    instance = golden_instances("iris", 1)[0]
    with engine_in_thread(settings) as door:
        number = ask(door, "iris", instance)
        answer = door.receive(number)[0]

    assert recorded(settings, door.records[number]).output == answer.body
    told = answer.content["predictions"][0]["contributions"]
    assert [each["feature"] for each in told] == list(MODELS["iris"].features)


def test_reasons_are_replayed_too(deployment: Deployment) -> None:
    """A linear model's and a forest's reasons come out identical; reasons that were other ones are `different`."""
    with deployment.running() as door:
        numbers = [ask(door, model, golden_instances(model, 1)[0]) for model in ("income", "iris")]
        door.receive(*numbers)
        verdicts = [door.replay(door.records[number]).content["verdict"] for number in numbers]

        honest = Reasons.tell
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reasons, "tell", lambda *args: [each | {"base": 0.5} for each in honest(*args)])
            number = ask(door, "income", golden_instances("income", 1)[0])
            door.receive(number)
        lie = door.replay(door.records[number]).content

    assert verdicts == ["identical", "identical"]
    assert (lie["verdict"], lie["differences"][0]["pointer"]) == ("different", "/body/predictions/0/base")
