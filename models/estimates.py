"""
How good a classifier probably is on rows whose outcomes nobody knows yet: an estimate, from its own probabilities.

Where a calibrated classifier says 0.8 it is right four times in five. So each row counts as every label at once, with
the label's probability as its weight, and scikit-learn's metrics are asked as if those were outcomes (confidence-based
performance estimation). That is sound only while calibration holds: it sees that other rows are asked, never that
the world answers them differently. A regressor says nothing of how sure it is, so there is no estimate for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from models.figures import Calibration
from models.manifest import Manifest, Target

ASSUMPTION = (
    "calibration is what it was on the held-out rows at training: other rows may be asked, "
    "but how outcomes follow from features has not changed"
)
# Off by more on average than this, an estimate would say more of the model's confidence than of its answers.
WORST_ERROR = 0.05
# Calibration is measured in groups of so many rows at least, ten at most; with fewer than two groups it is not known.
_GROUP, _MOST_GROUPS = 50, 10


class NoEstimate(Exception):
    """For this version an estimate would not be sound; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`metrics` by their names in sklearn.metrics; `confusion[i][j]`: rows expected to be i among those answered j."""

    n: int
    metrics: Mapping[str, float]
    labels: tuple[str, ...]
    confusion: tuple[tuple[float, ...], ...]
    calibration_error: float


def estimate(scores: NDArray[np.float64], manifest: Manifest) -> Estimate:
    """
    Estimate the metrics over rows of probabilities `(rows, labels)`, labels in the order of the manifest's target.

    Raises:
        NoEstimate: for a regressor, a classifier that was badly calibrated or of which that is not known, or no rows.
    """
    target, error = manifest.target, calibration_error(manifest)
    if not len(scores):
        raise NoEstimate("there are no predictions in this window")
    labels = target.labels or ()
    weights = scores.T.ravel()  # every row as the first label, then every row as the second, …
    truth = np.repeat(np.arange(len(labels)), len(scores))
    answered = np.tile(scores.argmax(axis=1), len(labels))
    confusion = metrics.confusion_matrix(truth, answered, labels=range(len(labels)), sample_weight=weights)
    return Estimate(
        n=len(scores),
        metrics=_metrics(scores, target, (truth, answered, weights)),
        labels=labels,
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration_error=error,
    )


def of_two(positive: NDArray[np.float64], target: Target) -> NDArray[np.float64]:
    """Give both labels their probabilities, in the order of the target, where the positive one's are known."""
    both = [positive if label == target.positive else 1 - positive for label in target.labels or ()]
    return np.stack(both, axis=1)


def of_many(named: Mapping[str, NDArray[np.float64]], target: Target) -> NDArray[np.float64]:
    """Put the probabilities of each label side by side, in the order of the target."""
    return np.stack([named[label] for label in target.labels or ()], axis=1)


def calibration_error(manifest: Manifest) -> float:
    """
    Say how far probabilities were from shares on the held-out rows, on average over the rows.

    Raises:
        NoEstimate: it is unknown, or too far.
    """
    found = manifest.calibration
    if manifest.target.labels is None:
        raise NoEstimate("a regressor does not say how sure it is")
    if found is None or len(found.counts) < 2:
        raise NoEstimate("how well it is calibrated was not measured at training, on too few rows or never")
    gaps = np.abs(np.array(found.predicted) - np.array(found.observed))
    error = float(np.average(gaps, weights=found.counts))
    if error > WORST_ERROR:
        raise NoEstimate(f"its probabilities were off by {error:.3f} at training; {WORST_ERROR} is the most")
    return error


def calibration(scores: NDArray[np.float64], truth: NDArray[Any], target: Target) -> Calibration:
    """
    Measure how often it was so, among rows of about the same probability: groups of equally many.

    Two labels: of the positive one. More: of every label of every row.
    """
    labels = target.labels or ()
    wanted = [label for label in labels if target.positive in (None, label)]
    said = np.concatenate([scores[:, labels.index(label)] for label in wanted])
    was = np.concatenate([truth == label for label in wanted])
    groups = max(1, min(_MOST_GROUPS, len(scores) // _GROUP))
    parts = np.array_split(np.argsort(said, kind="stable"), groups)
    return Calibration(
        predicted=tuple(float(said[part].mean()) for part in parts),
        observed=tuple(float(was[part].mean()) for part in parts),
        counts=tuple(map(len, parts)),
    )


def _metrics(
    scores: NDArray[np.float64],
    target: Target,
    rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
) -> dict[str, float]:
    truth, answered, weights = rows
    labels = target.labels or ()
    found = {
        "accuracy_score": metrics.accuracy_score(truth, answered, sample_weight=weights),
        "balanced_accuracy_score": metrics.balanced_accuracy_score(truth, answered, sample_weight=weights),
    }
    if target.positive is None:
        repeated = np.tile(scores, (len(labels), 1))
        found["log_loss"] = metrics.log_loss(
            truth, repeated, labels=range(len(labels)), sample_weight=weights
        )
    else:
        place = labels.index(target.positive)
        is_positive, probability = truth == place, np.tile(scores[:, place], len(labels))
        for name in ("roc_auc_score", "average_precision_score", "brier_score_loss", "log_loss"):
            found[name] = getattr(metrics, name)(is_positive, probability, sample_weight=weights)
    return {name: float(value) for name, value in found.items()}
