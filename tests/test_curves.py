"""The ROC curve is scikit-learn's, in fewer points: its shape and its area stay, and nobody can be told from it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from api.calls import Call
from api.plots import ink
from db.engine import open_reader
from models import curves
from models.figures import Curve
from models.intervals import LEAST
from tests.ledgers import DATABASES, fresh, writing
from tests.reporting import lived
from tests.service import Caller, Service
from tests.test_performance import ODD, TWO, frame_of, measure
from tests.test_performance_recorded import SCHEMA, door, pairs_of, predict, report

Rows = tuple[NDArray[Any], NDArray[Any]]  # whether it was so, and its score, the greatest first


def rows(count: int, spread: float, ties: int | None = None, share: float = 0.5) -> Rows:
    """Draw scores of two kinds of rows, so far apart, on so many steps."""
    random = np.random.default_rng(count)
    truth = random.random(count) < share
    scores = 1 / (1 + np.exp(-random.normal(np.where(truth, spread, -spread))))
    scores = scores if ties is None else np.round(scores * ties) / ties
    order = np.argsort(-scores)
    return truth[order].astype(np.int8), scores[order]


SAMPLES = {
    "many rows": rows(300_000, 0.8),
    "nearly perfect": rows(100_000, 4.0),
    "worse than chance": rows(100_000, -1.0),
    "few positive ones": rows(200_000, 1.0, share=0.003),
    "tied": rows(50_000, 0.7, ties=7),
    "all tied": rows(100, 0.5, ties=1),
    "decimals": rows(5_000, 0.7, ties=100),
    "few": rows(30, 0.5),
}


def points(curve: Curve) -> NDArray[Any]:
    return np.column_stack([curve.false_positive_rate, curve.true_positive_rate])


def farthest(thin: NDArray[Any], whole: NDArray[Any]) -> float:
    """Say how far the whole curve gets from the thin one: every point from the line it was left out of."""
    at = np.searchsorted(thin.sum(axis=1), whole.sum(axis=1), side="right").clip(1, len(thin) - 1)
    start, along = thin[at - 1], thin[at] - thin[at - 1]
    off = whole - start
    return float(np.max(np.abs(along[:, 0] * off[:, 1] - along[:, 1] * off[:, 0]) / np.hypot(*along.T)))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_thin_curve_is_as_good_as_the_whole(name: str) -> None:
    """The area is roc_auc_score; at most 200 points, each of roc_curve, and none left out is far."""
    truth, scores = SAMPLES[name]
    area, curve = curves.roc(truth, scores)
    false, true, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    whole, thin = np.column_stack([false, true]), points(curve)

    assert area == pytest.approx(metrics.roc_auc_score(truth, scores), rel=1e-12)
    assert len(thin) <= curves.MOST_POINTS
    assert {*map(tuple, thin.tolist())} <= {*map(tuple, whole.tolist())}
    assert (thin[0].tolist(), thin[-1].tolist()) == ([0, 0], [1, 1])
    assert farthest(thin, whole) < 0.007072
    assert abs(metrics.auc(*thin.T) - area) < (0.005 if len(truth) < 1000 or name == "tied" else 0.0005)
    places = np.searchsorted(whole.sum(axis=1), thin.sum(axis=1))
    far = np.flatnonzero(np.diff(thin.sum(axis=1)) > 2 / curves.STEPS)
    assert np.diff(places)[far].tolist() == [1] * len(
        far
    )  # or precision would be drawn straight where it is not
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    known = {*zip(recall.tolist(), precision.tolist(), strict=True)}
    assert {*zip(curve.true_positive_rate[1:], curve.precision[1:], strict=True)} <= known


@pytest.mark.parametrize("name", SAMPLES)
def test_a_threshold_is_that_of_its_point_and_tells_of_nobody(name: str) -> None:
    """Counting from it on gives the very point, and ten rows at least lie between two, and beyond the outermost."""
    truth, scores = SAMPLES[name]
    _, curve = curves.roc(truth, scores)
    told = [
        (threshold, point)
        for threshold, *point in zip(
            curve.threshold, curve.false_positive_rate, curve.true_positive_rate, strict=True
        )
        if threshold is not None
    ]
    above = [int((scores >= threshold).sum()) for threshold, _ in told]

    for threshold, (false, true) in told:
        counted = scores >= threshold
        assert false == pytest.approx(np.mean(counted[truth == 0]))
        assert true == pytest.approx(np.mean(counted[truth == 1]))
    assert min(np.diff([0, *above, len(scores)])) >= LEAST
    assert told or name == "all tied"


def test_what_is_no_curve_is_none() -> None:
    """Without outcomes, with few, or where all are alike there is none; ties of everything are a straight line."""
    few = [{"label": "yes", "probability": at / 9} for at in range(LEAST - 1)]
    assert measure(frame_of(few, ["no", "yes", "yes"] * 3), TWO).curve is None
    for name in ("nothing at all", "no outcomes", "one outcome", "one class only", "one of three classes"):
        target, answers, truth = ODD[name]
        assert measure(frame_of(answers, truth), target).curve is None, name
    said = [{"label": "yes", "probability": 0.7}] * 40
    tied = measure(frame_of(said, ["yes", "no"] * 20), TWO)

    assert tied.curve == Curve(
        false_positive_rate=(0, 1), true_positive_rate=(0, 1), precision=(None, 0.5), threshold=(None, None)
    )
    assert tied.metrics["roc_auc_score"].value == 0.5


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make a ledger of predictions, most of them with outcomes."""
    url = fresh(request.param, request, tmp_path)
    chance = random.Random(3)
    with writing(url) as ledger:
        report(ledger, chance, predict(ledger, chance), 0.9)
    return url


def test_the_curve_of_a_ledger_is_scikit_learns(url: str) -> None:
    """Read off the columns of what was recorded, every point and the area are those of the rows of the lookups."""
    pairs = pairs_of(url)
    truth, scores = [each == "b" for each, _, _ in pairs], [each for *_, each in pairs]
    reader = open_reader(url)
    try:
        answer = asyncio.run(door(reader).read(Call(path={"model": "income"}, query={"bucket": "hour"})))
    finally:
        reader.dispose()
    shown = json.loads(answer.content)
    false, true, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)

    assert SCHEMA.violations(shown)[0] == []
    assert shown["roc_curve"]["false_positive_rate"] == pytest.approx(false.tolist())
    assert shown["roc_curve"]["true_positive_rate"] == pytest.approx(true.tolist())
    assert shown["metrics"]["roc_auc_score"]["value"] == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert "roc_curve" not in shown["buckets"][0]


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_the_curve_over_http_beside_that_of_training(service: Service, demo: Caller) -> None:
    """Of what was predicted and reported by request, it is scikit-learn's; the version has its own, both are drawn."""
    begin, answered, happened = lived(service)
    address, positive = "/v1/models/two-features/performance", "1"
    found = demo.http.get(address, params={"from": begin}).json()
    version = demo.http.get("/v1/models/two-features/versions/1").json()
    scores = [each["probability"] for each in answered]
    false, true, _ = metrics.roc_curve(
        [each == positive for each in happened], scores, drop_intermediate=False
    )

    assert found["outcomes"] == len(happened)
    shown = {
        *zip(
            *(found["roc_curve"][each] for each in ("false_positive_rate", "true_positive_rate")), strict=True
        )
    }
    assert shown <= {*zip(false.tolist(), true.tolist(), strict=True)}
    assert len(shown) > 10
    assert found["at_training"]["roc_curve"] == version["roc_curve"]
    assert found["at_training"]["calibration"] == version["calibration"]
    assert "roc_curve" not in demo.http.get("/v1/models/two-features/versions").text
    for plot, words in (
        ("roc", "held out of training: area 0.961"),
        ("precision_recall", "held out of training: average precision 0.953"),
    ):
        picture = demo.http.get(
            address, params={"plot": plot, "from": begin}, headers={"Accept": ink.MEDIA_TYPE}
        )
        assert (picture.status_code, words in picture.text) == (200, True), plot
