"""
Numbers with an interval of 95 %: what of them is the data and what may be chance.

For shares Wilson's, which holds for few rows and at the edges, too; for everything else the normal one.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from models.columns import Doubles

# Fewer outcomes say nothing about a model, and too much about single persons.
LEAST = 10
Z = 1.959963984540054  # of 95 %
Within = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number with its interval of 95 % and what it was computed of; without a value, `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


def wilson(hits: int, count: int) -> Metric:
    """Give a share with Wilson's interval, which holds for few rows and for shares of 0 and 1, too."""
    if not count:
        return none(0, "no predictions")
    share, z2 = hits / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return Metric(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)), count)


def hanley(area: float, positives: int, negatives: int) -> Metric:
    """Give an area under the ROC curve with its interval."""
    return normal(area, hanley_error(area, positives, negatives), positives + negatives, (0.0, 1.0))


def hanley_error(area: float, positives: int, negatives: int) -> float:
    """Source: Hanley and McNeil 1982, Radiology 143, 29 to 36."""
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (one - area * area) + (negatives - 1) * (two - area * area)
    return sqrt(max(0.0, spread) / (positives * negatives))


def logit(value: float, positives: int, count: int) -> Metric:
    """Source: Boyd, Eng and Page 2013, ECML PKDD, section 3."""
    if not 0 < value < 1:
        return as_said(value, Metric(None, *_bounds(wilson(round(value * positives), positives)), count))
    middle, half = np.log(value / (1 - value)), Z / sqrt(positives * value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-each))) for each in (middle - half, middle + half))
    return Metric(value, low, high, count)


def _bounds(metric: Metric) -> tuple[float | None, float | None]:
    return metric.low, metric.high


def mean(value: float, parts: Doubles, within: Within) -> Metric:
    """Give a mean with the interval that the spread of its parts makes."""
    return normal(value, error_of(parts), len(parts), within)


def error_of(parts: Doubles) -> float | None:
    """Give the standard error of a mean; None for one row, which has no spread."""
    return float(parts.std(ddof=1)) / sqrt(len(parts)) if len(parts) > 1 else None


def normal(value: Any, error: float | None, count: int, within: Within) -> Metric:
    """Give a number with the interval that its standard error makes, cut to what is possible."""
    value = float(value)
    if not np.isfinite(value):
        return none(count, "is not a finite number")
    if error is None or not np.isfinite(error):
        return Metric(value, None, None, count)
    low, high = value - Z * error, value + Z * error
    least, most = within
    return Metric(
        value, low if least is None else max(low, least), high if most is None else min(high, most), count
    )


def as_said(value: Any, interval: Metric) -> Metric:
    """Put scikit-learn's number into an interval."""
    return Metric(float(value), interval.low, interval.high, interval.n)


def none(count: int, reason: str) -> Metric:
    """Say why there is no value."""
    return Metric(None, None, None, count, reason)


def dice(interval: Metric) -> Metric:
    """Turn the interval of hits among all but true negatives into one of F1."""
    low, high = (2 * (each or 0.0) / (1 + (each or 0.0)) for each in (interval.low, interval.high))
    return Metric(None, low, high, interval.n)
