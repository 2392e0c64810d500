"""What a version answered to the rows held out of its training beside their truth: figures, for pictures of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import curves, estimates
from models.actuals import grouped
from models.figures import Actuals, Calibration, Curve
from models.manifest import Target
from models.model import Prediction


def calibration(predictions: Sequence[Prediction], truth: NDArray[Any], target: Target) -> Calibration | None:
    """Compare the probabilities with what was true; a regressor gives none."""
    if target.labels is None:
        return None
    if target.positive is None:
        rows = [list((prediction.probabilities or {}).values()) for prediction in predictions]
        return estimates.calibration(np.array(rows), truth, target)
    scores = np.array([prediction.probability for prediction in predictions], dtype=float)
    return estimates.calibration(estimates.of_two(scores, target), truth, target)


def curve(predictions: Sequence[Prediction], truth: NDArray[Any], target: Target) -> Curve | None:
    """Draw the ROC curve of the probabilities of two labels."""
    if target.positive is None:
        return None
    scores = np.array([prediction.probability for prediction in predictions], dtype=float)
    order = np.argsort(-scores, kind="stable")
    return curves.roc((truth == target.positive)[order].astype(np.int8), scores[order])[1]


def actuals(predictions: Sequence[Prediction], truth: NDArray[Any], target: Target) -> Actuals | None:
    """Put numbers that were answered beside the true ones, in groups; a classifier gives none."""
    if target.labels is not None:
        return None
    return grouped(np.array([prediction.value for prediction in predictions], dtype=float), truth)
