"""
What a regressor answered beside what happened, in few groups: as good as every point, and telling of none.

The answers are cut where equally many lie, into as many groups of LEAST rows as there are, MOST at most; equal answers
are never cut apart, so a model that gives few different ones has few groups.
"""

import numpy as np

from models.columns import Doubles
from models.figures import Actuals
from models.intervals import LEAST

MOST = 20
_HALF = (0.25, 0.75)  # between which quantiles the middle half lies


def grouped(answers: Doubles, truth: Doubles) -> Actuals | None:
    """Put answers and what happened into groups of about one answer; None where there are too few for one."""
    if len(answers) < LEAST:
        return None
    order = np.argsort(answers, kind="stable")
    answers, truth = answers[order], truth[order]
    cuts = _cuts(answers)
    said, was = np.split(answers, cuts), np.split(truth, cuts)
    halves = [np.quantile(each, _HALF).tolist() for each in was]
    errors = [np.quantile(one - other, _HALF).tolist() for one, other in zip(said, was, strict=True)]
    return Actuals(
        predicted=tuple(float(each.mean()) for each in said),
        actual=tuple(float(each.mean()) for each in was),
        actual_low=tuple(low for low, _ in halves),
        actual_high=tuple(high for _, high in halves),
        error_low=tuple(low for low, _ in errors),
        error_high=tuple(high for _, high in errors),
        counts=tuple(map(len, said)),
    )


def _cuts(answers: Doubles) -> list[int]:
    """Choose where groups begin, the first aside: before an answer that is greater than the one before it."""
    size = len(answers)
    groups = min(MOST, size // LEAST)
    wanted = answers[[size * place // groups for place in range(1, groups)]]
    cuts = [0]
    for place in np.searchsorted(answers, wanted).tolist():
        if place - cuts[-1] >= LEAST and size - place >= LEAST:
            cuts.append(place)
    return cuts[1:]
