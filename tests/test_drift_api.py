"""GET /v1/models/{model}/drift: windows of what was really predicted, judged, on both databases."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import httpx
import numpy as np
import pytest

from models import registry
from tests.service import Caller
from tests.streams import STORE

ROWS = 600


def drift(caller: Caller, model: str = "housing", **query: str) -> httpx.Response:
    return caller.http.get(f"/v1/models/{model}/drift", params=query)


def like_training(rng: np.random.Generator) -> list[float]:
    """Draw ages as the districts that the model has learnt from have them."""
    histogram = registry.load(STORE, "housing", "1", None).manifest.features[0].histogram
    counts = np.array(histogram.counts)
    places = rng.choice(len(counts), ROWS, p=counts / counts.sum())
    edges = np.array(histogram.edges)
    ages: list[float] = rng.uniform(edges[places], edges[places + 1]).tolist()
    return ages


def ask(caller: Caller, ages: list[float]) -> str:
    """Predict all of them in one request; the time it was asked at."""
    answer = caller.predict("housing", *({"age": age} for age in ages))
    assert answer.status_code == 201, answer.text
    first = answer.json()["predictions"][0]["id"]
    return str(caller.http.get(f"/v1/predictions/{first}").json()["at"])


@pytest.fixture
def history(demo: Caller) -> list[str]:
    """Twice what training was like, then newer districts; the times of the three requests, and one after."""
    rng = np.random.default_rng(1)
    newer = rng.uniform(5, 30, ROWS).tolist()
    return [ask(demo, ages) for ages in (like_training(rng), like_training(rng), newer, [50.0])]


def test_a_window_is_judged_against_training_and_against_the_one_before(
    demo: Caller, history: list[str]
) -> None:
    """What is asked as in training is stable; the newer districts have drifted, from training and from yesterday."""
    first, second, third, end = history

    quiet = drift(demo, **{"from": first, "to": third}).json()
    shifted = drift(demo, **{"from": third, "to": end}).json()
    beside = drift(
        demo,
        against="previous",
        **{"from": third, "to": end, "reference_from": second, "reference_to": third},
    ).json()

    assert (quiet["verdict"], quiet["n"], quiet["against"]) == ("stable", 2 * ROWS, "training")
    assert (shifted["verdict"], shifted["n"]) == ("drifted", ROWS)
    assert (beside["verdict"], beside["reference"]["n"]) == ("drifted", ROWS)
    assert [each["verdict"] for each in (shifted["features"][0], shifted["output"])] == ["drifted"] * 2
    assert "approximation" in shifted["features"][0]["test"]
    assert "approximation" not in beside["features"][0]["test"]


def test_a_window_without_predictions_is_too_few(demo: Caller) -> None:
    """Nothing asked, or a window that ends before it begins: no error, and nothing is claimed."""
    long_ago = drift(demo, **{"from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z"})
    backwards = drift(demo, **{"from": "2001-01-02T00:00:00Z", "to": "2001-01-01T00:00:00Z"})
    farthest = drift(
        demo, against="previous", **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59-12:00"}
    )

    for answer in (long_ago, backwards, farthest):
        assert answer.status_code == 200, answer.text
    assert {each.json()["verdict"] for each in (long_ago, backwards)} == {"too few"}


@pytest.mark.parametrize("model", ["income", "iris", "credit", "two-features"])
def test_every_model_can_be_judged(demo: Caller, model: str) -> None:
    """Categories, truths, several labels: one prediction of each model's first example is counted as one."""
    from api import contract
    from api.app import CONTRACT

    example = contract.read(CONTRACT, 10).models[model].examples[0]
    begin = ask(demo, [50.0])
    assert demo.predict(model, *example["instances"]).status_code == 201

    answer: dict[str, Any] = drift(demo, model, **{"from": begin}).json()

    assert (answer["verdict"], answer["n"]) == ("too few", len(example["instances"]))
    assert [each["unseen"]["value"] for each in answer["features"]] == [0] * len(answer["features"])
    assert sum(answer["output"]["distribution"]["shares"]) == pytest.approx(1)


def test_performance_is_estimated_without_outcomes(demo: Caller) -> None:
    """A calibrated classifier gets an estimate beside training's metrics; a regressor and a small forest get none."""
    from api import contract
    from api.app import CONTRACT

    models = contract.read(CONTRACT, 10).models
    begin = ask(demo, [50.0])
    answered = demo.predict("income", *models["income"].examples[1]["instances"]).json()["predictions"]
    demo.predict("iris", *models["iris"].examples[0]["instances"])

    found = drift(demo, "income", **{"from": begin}).json()["estimate"]

    sure = [max(each["probability"], 1 - each["probability"]) for each in answered]
    assert found["metrics"]["accuracy_score"] == pytest.approx(np.mean(sure))
    assert found["at_training"]["accuracy_score"] > 0.85
    assert "calibration is what it was" in found["assumption"]
    for model in ("housing", "iris"):
        assert list(drift(demo, model, **{"from": begin}).json()["estimate"]) == ["refused"]


def test_drift_can_be_drawn(demo: Caller, history: list[str]) -> None:
    """`Accept: image/svg+xml` gets a picture that says the same."""
    answer = demo.http.get(
        "/v1/models/housing/drift",
        params={"from": history[2], "to": history[3]},
        headers={"Accept": "image/svg+xml"},
    )

    assert answer.headers["content-type"] == "image/svg+xml"
    description = ET.fromstring(answer.content)[1].text
    assert "age" in str(description)
    assert "drifted" in str(description)


def test_what_is_not_there_is_not_found(demo: Caller) -> None:
    """An unknown model and a version that is not registered are 404."""
    assert drift(demo, "nothing").status_code == 404
    assert drift(demo, version="99").status_code == 404
