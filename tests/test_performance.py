"""Metrics are scikit-learn's of the pairs that were recorded, and nothing odd is an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from db.columns import Answered, Reported, of
from models import registry, training
from models.columns import Chunk, Frame, frame
from models.metrics import LEAST, Performance, Target, measure
from models.model import answer
from models.train import RECIPES
from tests.answering import recorded
from tests.test_recipes import STORE, data_for

TWO, THREE, NUMBER = Target(labels=("no", "yes"), positive="yes"), Target(labels=("a", "b", "c")), Target()


def frame_of(answers: Sequence[dict[str, Any]], truth: Sequence[str | float | None]) -> Frame:
    """Make a frame of answers and of what really happened, through the same columns as the ledger's."""
    record = recorded(*(({}, each) for each in answers))
    said = [
        Answered(idx=0, observed_at_us=1, model="m", version="1", input=record.input, output=record.output)
    ]
    reports = [
        Reported(idx=1 + at, observed_at_us=2, model="m", version="1", of_idx=0, position=at, value=value)
        for at, value in enumerate(truth)
        if value is not None
    ]
    columns = of([*said, *reports])["m", "1"]
    return frame([Chunk("1", columns)], [columns] if reports else [])


def close(metric: Any, expected: Any) -> bool:
    """Say whether a metric is this number, and lies in its own interval."""
    assert metric.low <= metric.value <= metric.high
    return math.isclose(metric.value, float(expected), rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("model", ["credit", "housing", "income", "iris", "two-features"])
def test_metrics_are_scikit_learns_on_the_same_pairs(model: str) -> None:
    """Of the rows held out of each example, every number is what scikit-learn says of plain lists, and the manifest."""
    data = RECIPES[model].data(data_for(model))
    _, held_out = training.split(data.frame)
    loaded = registry.load(STORE, model, "1", None)
    predictions = loaded.predict(loaded.check(training.instances_of(held_out)))
    target = loaded.manifest.target
    truth = [each.item() if hasattr(each, "item") else each for each in held_out.iloc[:, -1]]
    found = measure(
        frame_of([answer(each, target) for each in predictions], truth),
        Target(labels=target.labels or (), positive=target.positive),
    )

    assert (found.n, found.outcomes) == (len(truth), len(truth))
    for name, value in loaded.manifest.metrics.items():
        assert close(found.metrics[name], value), name
    if target.labels is None:
        values = [each.value for each in predictions]
        assert close(
            found.metrics["mean_absolute_percentage_error"],
            metrics.mean_absolute_percentage_error(truth, values),
        )
        return
    labels = [each.label for each in predictions]
    matrix = metrics.confusion_matrix(truth, labels, labels=list(target.labels))
    assert [list(row) for row in found.confusion] == matrix.tolist()
    of_labels = metrics.precision_recall_fscore_support(truth, labels, labels=list(target.labels))
    for place, label in enumerate(target.labels):
        for name, values in zip(("precision_score", "recall_score", "f1_score"), of_labels, strict=False):
            assert close(found.by_label[label][name], values[place]), (label, name)


def test_probabilities_of_three_labels() -> None:
    """Log loss, Brier score and area of more than two labels are scikit-learn's, too."""
    random = np.random.default_rng(5)
    shares = random.dirichlet((1, 1, 1), 300)
    truth = [THREE.labels[random.choice(3, p=row)] for row in shares]
    answers = [
        {
            "label": THREE.labels[int(row.argmax())],
            "probabilities": dict(zip(THREE.labels, row.tolist(), strict=True)),
        }
        for row in shares
    ]
    found = measure(frame_of(answers, truth), THREE).metrics

    assert close(found["log_loss"], metrics.log_loss(truth, shares, labels=list(THREE.labels)))
    assert close(
        found["brier_score_loss"], metrics.brier_score_loss(truth, shares, labels=list(THREE.labels))
    )
    assert close(found["roc_auc_score"], metrics.roc_auc_score(truth, shares, multi_class="ovr"))


def _said(probability: float) -> dict[str, Any]:
    return {"label": TWO.labels[int(probability > 0.5)], "probability": probability}


ODD: dict[str, tuple[Target, list[dict[str, Any]], list[Any]]] = {
    "nothing at all": (TWO, [], []),
    "no outcomes": (TWO, [_said(0.1)] * 20, [None] * 20),
    "one outcome": (TWO, [_said(0.1)] * 20, ["no"] + [None] * 19),
    "one class only": (TWO, [_said(each / 40) for each in range(40)], ["no"] * 40),
    "a label that is none of the model's": (TWO, [_said(0.1)] * 20, ["perhaps"] * 20),
    "sure and wrong": (TWO, [_said(0.0)] * 20 + [_said(1.0)] * 20, ["yes"] * 20 + ["no"] * 20),
    "one of three classes": (
        THREE,
        [{"label": "a", "probabilities": {"a": 0.5, "b": 0.25, "c": 0.25}}] * 20,
        ["b"] * 20,
    ),
    "one number": (NUMBER, [{"price": 1.0}], [2.0]),
    "the same number each time": (NUMBER, [{"price": 1.0}] * 20, [2.0] * 20),
    "zeros": (NUMBER, [{"price": 1.0}] * 20, [0.0] * 20),
    "enormous numbers": (NUMBER, [{"price": 1e308}] * 20, [-1e308] * 20),
    "a label in the place of a number": (NUMBER, [{"price": 1.0}] * 20, ["dear"] * 20),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_computed_says_why(name: str) -> None:
    """No data are an error: every metric is a finite number or None with a reason, and few outcomes show nothing."""
    target, answers, truth = ODD[name]
    found = measure(frame_of(answers, truth), target)

    for metric in [
        *found.metrics.values(),
        *(each for one in found.by_label.values() for each in one.values()),
    ]:
        assert (metric.value is None) == (metric.reason is not None)
        for number in (metric.value, metric.low, metric.high):
            assert number is None or math.isfinite(number)
    if found.outcomes < LEAST:
        assert _is_silent(found)
    if name == "one class only":
        assert found.metrics["roc_auc_score"].reason == "all outcomes are of one class"
        assert found.metrics["accuracy_score"].value == 21 / 40


def _is_silent(found: Performance) -> bool:
    shown = [each.value for each in found.metrics.values()]
    return not found.confusion and not found.calibration and not found.errors and set(shown) <= {None}


def test_intervals_hold_what_they_say() -> None:
    """Of 150 samples of 200 rows, the true value lies within the interval in about 95 of 100, metric by metric."""
    random = np.random.default_rng(11)
    large = random.random(400_000)
    happened = random.random(400_000) < large
    true = {
        "accuracy_score": metrics.accuracy_score(happened, large > 0.5),
        "roc_auc_score": metrics.roc_auc_score(happened, large),
        "log_loss": metrics.log_loss(happened, large),
        "brier_score_loss": metrics.brier_score_loss(happened, large),
        "average_precision_score": metrics.average_precision_score(happened, large),
        "balanced_accuracy_score": metrics.balanced_accuracy_score(happened, large > 0.5),
    }
    held = dict.fromkeys(true, 0)
    rows = 150 * 200
    truth = [TWO.labels[int(each)] for each in happened[:rows]]
    whole = frame_of([_said(float(each)) for each in large[:rows]], truth)
    for at in range(0, rows, 200):
        found = measure(whole.take(slice(at, at + 200)), TWO).metrics
        for name, value in true.items():
            metric = found[name]
            assert metric.low is not None
            assert metric.high is not None
            held[name] += metric.low <= value <= metric.high

    assert {name: count for name, count in held.items() if not 135 <= count <= 149} == {}
