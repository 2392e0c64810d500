"""
Predictions in groups: by time, so that what changes shows, and by a feature, so that a group that is served badly does.

Groups of few predictions are put together with others: what is said of a group must not be said of a person.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns import Category, Doubles, Frame, Whole
from models.intervals import LEAST

MOST_BUCKETS, MOST_CATEGORIES, NUMBER_BINS = 1_000, 50, 10
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_MONDAY_US = 4 * _DAY_US  # 5 Jan 1970 was the first Monday
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TooManyBuckets(Exception):
    """So many buckets are no answer; the message says how many there would be."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch of time, its end not part of it, and which rows fall into it."""

    from_us: int
    to_us: int
    rows: Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some values of one feature, and which rows have them.

    A category has its `value`, a number `low` and `high` (both included); a value that is missing has neither, and
    `is_rest` says that several categories, each of them rare, were put together.
    """

    rows: Whole
    value: str | None = None
    low: float | None = None
    high: float | None = None
    is_rest: bool = False


def buckets(frame: Frame, size: str) -> list[Bucket]:
    """
    Cut a frame by the time of its predictions, in UTC: by `hour`, `day`, `week` (from Monday) or `month`.

    Raises:
        TooManyBuckets: more than MOST_BUCKETS have predictions.
    """
    if not len(frame):
        return []
    starts = _starts(frame.at_us, size)
    found, places, counts = np.unique(starts, return_inverse=True, return_counts=True)
    if len(found) > MOST_BUCKETS:
        raise TooManyBuckets(f"{len(found)} buckets have predictions; {MOST_BUCKETS} are shown at most")
    rows = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    return [
        Bucket(start, _end(start, size), mine)
        for start, mine in zip(found.tolist(), rows, strict=True)
        if len(mine)
    ]


def slices(frame: Frame, feature: str) -> list[Slice]:
    """Cut a frame by the values of one of its features: by category, or into bins that hold about equally many."""
    column = frame.features[feature]
    return list(_by_category(column) if isinstance(column, Category) else _by_number(column))


def _starts(at_us: Whole, size: str) -> Whole:
    if size == "month":
        return (
            at_us.astype("datetime64[us]").astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        )
    width, first = {"hour": (_HOUR_US, 0), "day": (_DAY_US, 0), "week": (7 * _DAY_US, _MONDAY_US)}[size]
    starts: Whole = (at_us - first) // width * width + first
    return starts


def _end(start: int, size: str) -> int:
    if size == "month":
        later = _EPOCH + timedelta(microseconds=start) + timedelta(days=31)
        return (later.replace(day=1) - _EPOCH) // timedelta(microseconds=1)
    return start + {"hour": _HOUR_US, "day": _DAY_US, "week": 7 * _DAY_US}[size]


def _by_category(column: Category) -> Iterator[Slice]:
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    order = [int(place) for place in np.argsort(-counts, kind="stable") if counts[place]]
    kept = [place for place in order[:MOST_CATEGORIES] if counts[place] >= LEAST]
    rest = order[len(kept) :]
    if sum(int(counts[place]) for place in rest) < LEAST and rest and kept:
        rest = [kept.pop(), *rest]  # or the rest could be told from the whole less the others
    for place in kept:
        yield Slice(rows=np.flatnonzero(column.codes == place), value=column.names[place])
    if rest:
        yield Slice(rows=np.flatnonzero(np.isin(column.codes, rest)), is_rest=True)
    yield from _missing(column.codes < 0)


def _by_number(column: Doubles) -> Iterator[Slice]:
    known = ~np.isnan(column)
    if known.any():
        edges = np.unique(
            np.quantile(column[known], np.linspace(0, 1, NUMBER_BINS + 1)[1:-1], method="lower")
        )
        places = np.searchsorted(edges, column, side="left")
        for place in range(len(edges) + 1):
            rows = np.flatnonzero(known & (places == place))
            if len(rows):
                yield Slice(rows=rows, low=float(column[rows].min()), high=float(column[rows].max()))
    yield from _missing(~known)


def _missing(rows: NDArray[Any]) -> Iterator[Slice]:
    if rows.any():
        yield Slice(rows=np.flatnonzero(rows))
