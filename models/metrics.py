"""
How good recorded predictions were: scikit-learn's metrics of what was answered and what really happened.

Every metric has its scikit-learn name, or says what it is where there is none, and an interval of 95 %; METHODS says
how each is made. Metrics of labels are computed of counted pairs, with the counts as weights: that is the same number,
and takes no longer for a million rows than for ten. Nothing raises for data that are odd: what cannot be computed is
None, with a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import probabilities
from models.actuals import grouped
from models.columns import Doubles, Frame, Whole
from models.figures import Actuals, Curve
from models.intervals import LEAST, Metric, as_said, dice, error_of, mean, none, normal, wilson

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_FEW = f"fewer than {LEAST} outcomes"

METHODS: Mapping[str, str] = {
    "coverage": "Wilson",
    "accuracy_score": "Wilson",
    "precision_score": "Wilson",
    "recall_score": "Wilson",
    "f1_score": "Wilson, of true positives among all but true negatives, transformed",
    "balanced_accuracy_score": "normal, of independent recalls",
    "roc_auc_score": "Hanley and McNeil 1982",
    "average_precision_score": "logit, Boyd et al. 2013",
    "log_loss": "normal",
    "brier_score_loss": "normal",
    "mean_absolute_error": "normal",
    "mean_absolute_percentage_error": "normal",
    "mean_error": "normal",
    "root_mean_squared_error": "delta, of the mean squared error",
    "r2_score": "delta",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a model answers: labels in their order and, of two, the positive one; none for a number."""

    labels: tuple[str, ...] = ()
    positive: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What can be said of some predictions: `n` there are, `outcomes` of them were reported on."""

    n: int
    outcomes: int
    coverage: Metric
    metrics: Mapping[str, Metric]
    by_label: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    confusion: Sequence[
        Sequence[int]
    ] = ()  # rows: what happened, columns: what was answered; in the order of labels
    calibration: Sequence[probabilities.Bin] = ()
    curve: Curve | None = None  # of two labels; for more it would be one per label
    errors: Mapping[float, float] = field(default_factory=dict)  # quantiles of answer less outcome


def measure(frame: Frame, target: Target) -> Performance:
    """Measure all rows of a frame that have an outcome of the target's kind."""
    with np.errstate(all="ignore"):  # what came out of it is looked at
        return _classified(frame, target) if target.labels else _estimated(frame)


def _classified(frame: Frame, target: Target) -> Performance:
    truth, answered = _codes(frame.outcome, target.labels), _codes(frame.label, target.labels)
    known = (truth >= 0) & (answered >= 0)
    count = int(known.sum())
    counts = _pairs(truth[known], answered[known], len(target.labels))
    of_all, by_label = _of_labels(counts)
    scores: dict[str, Metric] = {}
    two = None
    if target.positive is not None:
        place = target.labels.index(target.positive)
        two = probabilities.of_two(truth[known] == place, frame.score[known])
        scores = two.metrics
    elif set(frame.probabilities) >= set(target.labels):
        matrix = np.column_stack([frame.probabilities[label][known] for label in target.labels])
        scores = probabilities.of_many(truth[known], matrix)
    is_few = count < LEAST
    return Performance(
        n=len(frame),
        outcomes=count,
        coverage=wilson(count, len(frame)),
        metrics=_hidden({**of_all, **scores}, count),
        by_label={label: _hidden(each, count) for label, each in zip(target.labels, by_label, strict=True)},
        confusion=() if is_few else counts.tolist(),
        calibration=() if is_few or two is None else two.calibration,
        curve=None if is_few or two is None else two.curve,
    )


def actuals(frame: Frame) -> Actuals | None:
    """Put the numbers that were answered beside those that happened, in groups."""
    truth, answers = _numbers(frame)
    return grouped(answers, truth)


def _numbers(frame: Frame) -> tuple[Doubles, Doubles]:
    """Give what happened and what was answered, where both are known."""
    known = ~(np.isnan(frame.outcome_number) | np.isnan(frame.score))
    return frame.outcome_number[known], frame.score[known]


def _estimated(frame: Frame) -> Performance:
    truth, answers = _numbers(frame)
    count = len(truth)
    errors = (
        dict(zip(QUANTILES, np.quantile(answers - truth, QUANTILES).tolist(), strict=True)) if count else {}
    )
    return Performance(
        n=len(frame),
        outcomes=count,
        coverage=wilson(count, len(frame)),
        metrics=_hidden(_of_numbers(truth, answers), count),
        errors=errors if count >= LEAST else {},
    )


def _hidden(found: Mapping[str, Metric], count: int) -> dict[str, Metric]:
    """Keep numbers of few outcomes back: they would tell of single rows."""
    if count >= LEAST:
        return dict(found)
    return {name: Metric(None, None, None, count, _FEW if count else "no outcomes") for name in found}


def _codes(column: Any, labels: Sequence[str]) -> NDArray[np.int32]:
    """Number texts by their place among the labels; -1 for any other."""
    places = [labels.index(name) if name in labels else -1 for name in column.names]
    coded: NDArray[np.int32] = np.array([*places, -1], dtype=np.int32).take(column.codes)
    return coded


# --- labels ------------------------------------------------------------------------------------------------


def _pairs(truth: NDArray[np.int32], answered: NDArray[np.int32], size: int) -> Whole:
    """Count how often each label was answered where each one happened."""
    counted = np.bincount(truth.astype(np.int64) * size + answered, minlength=size * size)
    return counted.reshape(size, size)


def _of_labels(counts: Whole) -> tuple[dict[str, Metric], list[dict[str, Metric]]]:
    """Measure all labels together, and each of them; scikit-learn is asked once, for each question takes it 3 ms."""
    from sklearn import metrics

    count = int(counts.sum())
    names, labels = ("accuracy_score", "balanced_accuracy_score"), range(len(counts))
    if not count:
        return dict.fromkeys(names, none(0, "no outcomes")), [_of_label(counts, each) for each in labels]
    truth, answered = np.nonzero(counts)
    weights = counts[truth, answered]
    accuracy = metrics.accuracy_score(truth, answered, sample_weight=weights)
    *of_each, _ = metrics.precision_recall_fscore_support(
        truth, answered, labels=labels, sample_weight=weights, zero_division=0
    )
    happened = counts.sum(axis=1)
    there = happened > 0
    recalls = of_each[1][there]
    error = sqrt(float((recalls * (1 - recalls) / happened[there]).sum())) / int(there.sum())
    found = {
        "accuracy_score": as_said(accuracy, wilson(int(np.trace(counts)), count)),
        # This is balanced_accuracy_score, which would complain of labels that were answered and never happened.
        "balanced_accuracy_score": normal(recalls.mean(), error, count, (0.0, 1.0)),
    }
    return found, [_of_label(counts, each, [values[each] for values in of_each]) for each in labels]


def _of_label(counts: Whole, place: int, values: Sequence[float] = (0.0, 0.0, 0.0)) -> dict[str, Metric]:
    """Put precision, recall and F1 of one label into their intervals, or say why there are none."""
    hits, happened, said = (
        int(each) for each in (counts[place, place], counts[place].sum(), counts[:, place].sum())
    )
    found: dict[str, Metric] = {}
    either = happened + said - hits
    for (name, within, reason), value in zip(
        (
            ("precision_score", said, "it was never answered"),
            ("recall_score", happened, "it never happened"),
            ("f1_score", either, "it was never answered and never happened"),
        ),
        values,
        strict=True,
    ):
        if not within:
            found[name] = none(0, reason)
            continue
        interval = wilson(hits, within)
        found[name] = as_said(value, dice(interval) if name == "f1_score" else interval)
    return found


# --- numbers -----------------------------------------------------------------------------------------------


def _of_numbers(truth: Doubles, answers: Doubles) -> dict[str, Metric]:
    from sklearn import metrics

    names = ("mean_absolute_error", "root_mean_squared_error", "mean_absolute_percentage_error", "r2_score")
    count = len(truth)
    if not count:
        return dict.fromkeys((*names, "mean_error"), none(0, "no outcomes"))
    errors = answers - truth
    squares = errors**2
    root = float(metrics.root_mean_squared_error(truth, answers))
    error = error_of(squares)
    found = {
        "mean_absolute_error": mean(
            float(metrics.mean_absolute_error(truth, answers)), np.abs(errors), (0.0, None)
        ),
        "root_mean_squared_error": normal(
            root, None if error is None or not root else error / (2 * root), count, (0.0, None)
        ),
        "mean_error": mean(float(errors.mean()), errors, (None, None)),
    }
    if np.all(truth != 0):
        value = float(metrics.mean_absolute_percentage_error(truth, answers))
        found["mean_absolute_percentage_error"] = mean(value, np.abs(errors / truth), (0.0, None))
    else:
        found["mean_absolute_percentage_error"] = none(count, "an outcome is zero")
    return found | {"r2_score": _r2(truth, answers, squares)}


def _r2(truth: Doubles, answers: Doubles, squares: Doubles) -> Metric:
    from sklearn import metrics

    around = (truth - truth.mean()) ** 2
    spread = float(around.mean())
    if not spread:
        return none(len(truth), "all outcomes are the same")
    # How much each row moves the ratio of the two means.
    moves = (squares - squares.mean() / spread * around) / spread
    return normal(float(metrics.r2_score(truth, answers)), error_of(moves), len(truth), (None, 1.0))
