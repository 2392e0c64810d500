"""How good probabilities were, of two labels and of more, by scikit-learn's functions."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from models import curves
from models.columns import Doubles
from models.figures import Curve
from models.intervals import LEAST, Metric, as_said, hanley, hanley_error, logit, mean, none, normal, wilson

_BINS = 10
_TINY = float(np.finfo(np.float64).eps)
_SUMS = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of about one probability, and how often it came true."""

    low: float
    high: float
    predicted: float
    observed: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class OfTwo:
    """What probabilities of one of two labels are worth; no curve where all outcomes are of one class."""

    metrics: dict[str, Metric]
    calibration: list[Bin]
    curve: Curve | None


def of_two(is_positive: NDArray[np.bool_], scores: Doubles) -> OfTwo:
    """Measure the probabilities of the positive one of two labels."""
    from sklearn import metrics

    count, positives = len(is_positive), int(is_positive.sum())
    if not count:
        names = ("roc_auc_score", "average_precision_score", "log_loss", "brier_score_loss")
        return OfTwo(metrics=dict.fromkeys(names, none(0, "no outcomes")), calibration=[], curve=None)
    order = np.argsort(
        -scores
    )  # each metric would sort for itself, the greatest first; sorted, that costs little
    truth, scores = is_positive[order].astype(np.int8), scores[order]
    with ThreadPoolExecutor(2) as threads:  # what takes long lets other threads run
        areas = threads.submit(_areas, truth, scores, positives)
        right = np.where(truth == 1, scores, 1 - scores)
        losses = -np.log(np.clip(right, _TINY, 1 - _TINY))
        loss = float(metrics.log_loss(truth, scores, labels=[0, 1]))
        brier = float(metrics.brier_score_loss(truth, scores, labels=[0, 1]))
        found = {
            "log_loss": mean(loss, losses, (0.0, None)),
            "brier_score_loss": mean(brier, (1 - right) ** 2, (0.0, 1.0)),
        }
        bins = _calibration(truth, scores)
        of_curves, curve = areas.result()
        return OfTwo(metrics=of_curves | found, calibration=bins, curve=curve)


def _areas(
    truth: NDArray[np.int8], scores: Doubles, positives: int
) -> tuple[dict[str, Metric], Curve | None]:
    """Measure how well scores tell the two labels apart, wherever the line is drawn."""
    from sklearn import metrics

    count = len(truth)
    if not 0 < positives < count:
        alike = none(count, "all outcomes are of one class")
        return dict.fromkeys(("roc_auc_score", "average_precision_score"), alike), None
    area, curve = curves.roc(truth, scores)  # roc_auc_score is the area under this very curve
    precision = float(metrics.average_precision_score(truth, scores))
    found = {
        "roc_auc_score": hanley(area, positives, count - positives),
        "average_precision_score": logit(precision, positives, count),
    }
    return found, curve


def of_many(truth: NDArray[np.int32], matrix: Doubles) -> dict[str, Metric]:
    """Measure the probabilities of more than two labels."""
    from sklearn import metrics

    count, labels = len(truth), list(range(matrix.shape[1]))
    if not count:
        return dict.fromkeys(("roc_auc_score", "log_loss", "brier_score_loss"), none(0, "no outcomes"))
    sums = matrix.sum(axis=1, keepdims=True)
    if (
        np.abs(sums - 1).max() > _SUMS
    ):  # of a twin that computes in single precision: scikit-learn would complain
        matrix = matrix / sums
    right = matrix[np.arange(count), truth]
    losses = -np.log(np.clip(right, _TINY, 1 - _TINY))
    squares = (matrix**2).sum(axis=1) - 2 * right + 1
    found = {
        "log_loss": mean(float(metrics.log_loss(truth, matrix, labels=labels)), losses, (0.0, None)),
        "brier_score_loss": mean(
            float(metrics.brier_score_loss(truth, matrix, labels=labels)), squares, (0.0, 2.0)
        ),
    }
    if len(np.unique(truth)) < len(labels):
        return found | {"roc_auc_score": none(count, "not every class is among the outcomes")}
    area = float(metrics.roc_auc_score(truth, matrix, multi_class="ovr", labels=labels))
    happened = np.bincount(truth, minlength=len(labels))
    errors = [hanley_error(area, int(each), count - int(each)) for each in happened]
    error = sqrt(sum(each**2 for each in errors)) / len(errors)
    return found | {"roc_auc_score": normal(area, error, count, (0.0, 1.0))}


def _calibration(truth: NDArray[np.int8], scores: Doubles) -> list[Bin]:
    """Compare what was said with how often it happened, in tenths."""
    from sklearn.calibration import calibration_curve

    observed, predicted = calibration_curve(truth, scores, n_bins=_BINS, strategy="uniform")
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    places = np.searchsorted(edges[1:-1], scores)
    counts = np.bincount(places, minlength=_BINS)
    hits = np.bincount(places, weights=truth, minlength=_BINS)
    there = np.flatnonzero(counts)
    return [
        Bin(
            low=float(edges[place]),
            high=float(edges[place + 1]),
            predicted=float(said),
            observed=as_said(float(share), wilson(int(hits[place]), int(counts[place]))),
        )
        for place, share, said in zip(there, observed, predicted, strict=True)
        if counts[place] >= LEAST
    ]
