"""
The ROC curve of two labels, by scikit-learn, in few points: as good as the whole one for whoever looks at it.

From (0, 0) to (1, 1) a curve goes right and up, so its way along both axes is 2 long, however many rows it is of. That
way is cut into STEPS pieces of one length, and the first and the last point of each piece are kept. What is left out
lies between two kept points whose distances along both axes add up to 2 / STEPS at most: it is not farther than
1 / (√2 STEPS) = 0.007 from the line through them, and the area under that line is off by 1 / (2 STEPS) = 0.005 at the
very most; of smooth curves by a hundredth of it. Recall moves in steps as short, so the same points are a
precision-recall curve, too; how far precision swings within a step nothing bounds, and at a recall of under a hundredth
it may. (Ramer, Douglas and Peucker keep fewer points for the same, in a loop over all of them.)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.columns import Doubles, Whole
from models.figures import Curve
from models.intervals import LEAST

STEPS = 100
MOST_POINTS = 2 * STEPS
_DIGITS = 17  # enough for any double


def roc(is_positive: NDArray[np.int8], scores: Doubles) -> tuple[float, Curve]:
    """Give the area under the curve, of all its points, and those that are kept; the greatest score comes first."""
    from sklearn import metrics

    # With points on a straight line, too: the precision along it is none.
    false, true, thresholds = metrics.roc_curve(is_positive, scores, drop_intermediate=False)
    area = float(metrics.auc(false, true))
    kept = _kept(false + true)
    false, true, thresholds = false[kept], true[kept], thresholds[kept]
    positives = int(is_positive.sum())
    hits = np.rint(true * positives).astype(np.int64)
    above = hits + np.rint(false * (len(scores) - positives)).astype(np.int64)  # how many rows score as much
    curve = Curve(
        false_positive_rate=tuple(false.tolist()),
        true_positive_rate=tuple(true.tolist()),
        precision=(None, *(hits[1:] / above[1:]).tolist()),
        threshold=tuple(_told(thresholds, scores, above)),
    )
    return area, curve


def _kept(way: Doubles) -> Whole:
    """Choose the first and the last place of each piece of the way, which ends at 2."""
    begins = np.searchsorted(way, np.linspace(0, 2, STEPS + 1)[1:-1])
    return np.unique(np.concatenate([[0], begins - 1, begins, [len(way) - 1]]).clip(0))


def _told(thresholds: Doubles, scores: Doubles, above: Whole) -> Iterator[float | None]:
    """Name thresholds that have LEAST rows between them, as numbers that are no row's score unless they must be.

    With a threshold at every step, each step would tell of one person what was predicted and what became of it.
    """
    told = 0
    for threshold, count in zip(thresholds.tolist(), above.tolist(), strict=True):
        if count - told < LEAST or len(scores) - count < LEAST:
            yield None
            continue
        told = count
        yield _between(float(scores[count]), threshold)


def _between(low: float, high: float) -> float:
    """Give the shortest decimal above the one and up to the other."""
    middle = low + (high - low) / 2
    for digits in range(1, _DIGITS):
        short = round(middle, digits)
        if low < short <= high:
            return short
    return high
