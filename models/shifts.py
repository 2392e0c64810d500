"""
One column of a window beside its reference: counted, measured and tested. models/drift.py puts the columns together.

Training is known by its histograms alone. Against them Kolmogorov-Smirnov looks at the edges of the bins only: its
statistic is never above that of the raw values, so it raises no more false alarms, and sees less within a bin. Two
windows are compared value by value. Values that repeat (ages in years) make either more careful still.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from models.columns import Category
from models.manifest import FeatureProfile

Verdict = Literal["stable", "watch", "drifted", "too few"]
Column = Sequence[Any] | NDArray[Any] | Category
Counts = NDArray[np.int64]

AT_EDGES = "Kolmogorov-Smirnov at the edges of the training histogram: never above the exact statistic"
# Cochran's rule for chi-square: rarer categories are tested together.
_LEAST_EXPECTED = 5
BOOLEANS = ("false", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One look for a difference. `name` is the function in scipy.stats; `approximation` says what was given up."""

    __test__ = False  # no test of pytest's

    name: str
    statistic: float
    p_value: float
    p_adjusted: float
    approximation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of the rows, beside the reference's, and whether chance explains the difference (Fisher's test)."""

    value: float
    reference: float
    test: Test | None  # None where neither has any


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Shares by bin. Numbers: below `edges[0]`, the bins, above the last; else by category, then all unseen ones."""

    edges: tuple[float, ...]
    categories: tuple[str, ...]
    shares: tuple[float, ...]
    reference: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What is true of one feature, or of the output. `unseen` counts values outside of what training held."""

    name: str
    n: int
    reference_n: int
    psi: float
    jensen_shannon: float
    test: Test | None  # None where no value is present on one side, or only one was ever met
    missing: Rate
    unseen: Rate
    distribution: Distribution
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One column, counted by the bins of its profile; the present values themselves where they are known."""

    counts: Counts
    missing: int
    unseen: int
    numbers: NDArray[np.float64] | None = None

    @property
    def n(self) -> int:
        return int(self.counts.sum()) + self.missing


def trained(profile: FeatureProfile, rows: int) -> Side:
    """Take the reference from what a manifest says of so many rows of training."""
    counts = np.array(profile.histogram.counts, dtype=np.int64)
    beyond = (1, 1) if profile.histogram.edges else (0, 1)
    return Side(counts=np.pad(counts, beyond), missing=round(profile.missing * rows), unseen=0)


def side(profile: FeatureProfile, column: Column) -> Side:
    """Count a column of a window by the bins that training has for it."""
    if profile.histogram.edges:
        numbers = np.asarray(column, dtype=float)
        present = numbers[~np.isnan(numbers)]
        counts = binned(present, profile.histogram.edges)
        unseen = 0 if profile.low is None else int(counts[0] + counts[-1])
        return Side(counts=counts, missing=len(numbers) - len(present), unseen=unseen, numbers=present)
    values, missing = _tallied(column)
    known = [values.pop(category, 0) for category in profile.categories or BOOLEANS]
    unseen = values.total()
    return Side(counts=np.array([*known, unseen], dtype=np.int64), missing=missing, unseen=unseen)


def _tallied(column: Column) -> tuple[Counter[str], int]:
    """Count each text of a column, and what is missing; truth is the text that JSON has for it."""
    if isinstance(column, Category):
        met = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names)).tolist()
        return Counter(dict(zip(column.names, met, strict=True))), int((column.codes < 0).sum())
    counts = Counter(column.tolist() if isinstance(column, np.ndarray) else column)
    missing = counts.pop(None, 0)
    return Counter(
        {str(each).lower() if isinstance(each, bool) else each: n for each, n in counts.items()}
    ), missing


def binned(numbers: NDArray[np.float64], edges: Sequence[float]) -> Counts:
    """Count the numbers below the first edge, in each bin as a manifest's histogram has it, and above the last."""
    places = np.searchsorted(np.asarray(edges), numbers, side="right")
    places[numbers == edges[-1]] = len(edges) - 1
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)


def measured(profile: FeatureProfile, ours: Side, theirs: Side) -> Shift:
    """Measure one column; p-values are adjusted and the verdict is given later, when all are known."""
    # What is missing is one more bin: a feature that is no longer sent has drifted.
    share, reference = (np.append(side.counts, side.missing) for side in (ours, theirs))
    return Shift(
        name=profile.name,
        n=ours.n,
        reference_n=theirs.n,
        psi=psi(share, reference),
        jensen_shannon=_distance(share, reference),
        test=_test(ours, theirs, is_number=bool(profile.histogram.edges)),
        missing=_rate((ours.missing, ours.n), (theirs.missing, theirs.n)),
        unseen=_rate((ours.unseen, ours.n), (theirs.unseen, theirs.n)),
        distribution=_distribution(profile, ours.counts, theirs.counts),
        verdict="stable",
    )


def psi(counts: Counts, reference: Counts) -> float:
    """
    Measure the population stability index of two histograms of the same bins.

    Half a row is added to every bin that either has anything in (Jeffreys), for the index of an empty bin is
    infinite; bins that both leave empty say nothing.
    """
    met = (counts + reference) > 0
    ours, theirs = counts[met] + 0.5, reference[met] + 0.5
    share, expected = ours / ours.sum(), theirs / theirs.sum()
    return float(np.sum((share - expected) * np.log(share / expected)))


def _distance(counts: Counts, reference: Counts) -> float:
    if not counts.sum() or not reference.sum():
        return 0.0
    # Two shares that differ in the last bit can have a divergence of -1e-17, whose root is no number.
    return float(np.nan_to_num(jensenshannon(counts, reference, base=2)))


def _test(ours: Side, theirs: Side, *, is_number: bool) -> Test | None:
    n, m = int(ours.counts.sum()), int(theirs.counts.sum())
    if not n or not m:
        return None
    if ours.numbers is not None and theirs.numbers is not None:
        found = stats.ks_2samp(ours.numbers, theirs.numbers, method="asymp")
        return _made("ks_2samp", found.statistic, found.pvalue)
    if is_number:
        # What ks_2samp(method="asymp") would say of the values rounded down to their edges, without a row for each.
        gap = float(np.abs(np.cumsum(ours.counts) / n - np.cumsum(theirs.counts) / m).max())
        return _made("ks_2samp", gap, stats.kstwo.sf(gap, round(n * m / (n + m))), AT_EDGES)
    table = _pooled(np.stack([ours.counts, theirs.counts]))
    if table.shape[1] < 2:
        return None
    found = stats.chi2_contingency(table, correction=False)
    return _made("chi2_contingency", found.statistic, found.pvalue)


def _pooled(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put the categories together that are too rare to be tested alone; nothing is dropped but what nobody met."""
    total = table.sum(axis=0)
    expected = total * (table.sum(axis=1).min() / table.sum())
    rare = expected < _LEAST_EXPECTED
    columns = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    return columns[:, columns.sum(axis=0) > 0]


def _made(name: str, statistic: float, p_value: float, approximation: str | None = None) -> Test:
    p = float(np.clip(p_value, 0, 1))
    return Test(name=name, statistic=float(statistic), p_value=p, p_adjusted=p, approximation=approximation)


def _rate(ours: tuple[int, int], theirs: tuple[int, int]) -> Rate:
    (some, n), (others, m) = ours, theirs
    test = None
    if n and m and some + others:
        found = stats.fisher_exact([[some, n - some], [others, m - others]])
        test = _made("fisher_exact", found.statistic if np.isfinite(found.statistic) else 0, found.pvalue)
    return Rate(value=some / n if n else 0.0, reference=others / m if m else 0.0, test=test)


def _distribution(profile: FeatureProfile, ours: Counts, theirs: Counts) -> Distribution:
    def shares(counts: Counts) -> tuple[float, ...]:
        return tuple((counts / max(1, counts.sum())).tolist())

    edges = profile.histogram.edges
    categories = () if edges else tuple(profile.categories or BOOLEANS)
    return Distribution(edges=edges, categories=categories, shares=shares(ours), reference=shares(theirs))
