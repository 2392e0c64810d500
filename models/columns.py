"""
Recorded predictions as a frame of numpy columns: what metrics, drift and exports are computed from.

Pure: it is given the bodies of columns, chunk by chunk (their format is that of db/columns.py), and knows neither
database nor contract. A row is one instance of one recorded prediction.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]
FEATURE, PROBABILITY, OUTCOME = "feature:", "probability:", "outcome:"
_POSITION_BITS = 20  # a request has at most a million instances
_WHOLE = {b"B": "<u1", b"H": "<u2", b"I": "<u4", b"Q": "<u8"}


class Chunk(NamedTuple):
    """Some rows of one version: the body of each column there is, by its name."""

    version: str
    columns: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Category:
    """Texts by number: `codes` are places in `names`, -1 where there is none."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Any) -> "Category":
        """Choose rows, by places or by a mask."""
        return Category(self.codes[rows], self.names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """
    Rows in the order of the ledger; every column has one value for each.

    Numbers are doubles, NaN where there is none. `score` is the probability of the positive label (two labels), of
    the answered label (more), or the value (regressor). `outcome` and `outcome_number` are what really happened, as a
    label or as a number; `outcome_at_us` is when it was observed, -1 where nothing was reported.
    """

    idx: Whole
    position: Whole
    at_us: Whole
    version: Category
    label: Category
    score: Doubles
    warnings: Doubles
    probabilities: Mapping[str, Doubles]
    features: Mapping[str, "Doubles | Category"]
    outcome: Category
    outcome_number: Doubles
    outcome_at_us: Whole

    def __len__(self) -> int:
        return len(self.idx)

    @property
    def has_outcome(self) -> NDArray[np.bool_]:
        """Say for each row whether an outcome was reported."""
        return self.outcome_at_us >= 0

    def take(self, rows: Any) -> "Frame":
        """Choose rows, by places or by a mask."""
        return replace(self, **{each.name: _taken(getattr(self, each.name), rows) for each in fields(self)})


def frame(
    chunks: Iterable[Chunk],
    outcomes: Iterable[Mapping[str, bytes]] = (),
    *,
    numeric: Mapping[str, bool] | None = None,
    within: tuple[int | None, int | None] = (None, None),
) -> Frame:
    """
    Put chunks together in the order of the ledger, keep the rows `within` these times, and join their outcomes.

    Times are microseconds, both included.

    `numeric` names features that the frame has in any case, and says which are numbers; decimal text then counts as
    one. A feature it does not name is a number where all its values are. Outcomes are chunks of columns `outcome:…`;
    of several for one row the last in the ledger counts, also where it was erased.
    """
    chunks, kinds = list(chunks), numeric or {}
    sizes = [_length(chunk) for chunk in chunks]
    read = _Reader([chunk.columns for chunk in chunks], sizes)
    names = sorted({name for chunk in chunks for name in chunk.columns})
    found = Frame(
        idx=read.whole("idx"),
        position=read.whole("position"),
        at_us=read.whole("at"),
        version=_versions([chunk.version for chunk in chunks], sizes),
        label=read.category("label"),
        score=read.numbers("score"),
        warnings=read.numbers("warnings"),
        probabilities={
            name.removeprefix(PROBABILITY): read.numbers(name)
            for name in names
            if name.startswith(PROBABILITY)
        },
        features={
            name: read.either(FEATURE + name, kinds.get(name))
            for name in sorted(
                {*kinds, *(name.removeprefix(FEATURE) for name in names if name.startswith(FEATURE))}
            )
        },
        **_nothing(sum(sizes)),
    )
    return _joined(_ordered(_between(found, *within)), list(outcomes))


def _length(chunk: Chunk) -> int:
    return len(_decode(chunk.columns["idx"])[0])


def _versions(versions: Sequence[str], sizes: Sequence[int]) -> Category:
    names = tuple(sorted(set(versions)))
    codes = np.array([names.index(version) for version in versions], dtype=np.int32)
    return Category(np.repeat(codes, sizes), names)


def _nothing(rows: int) -> dict[str, Any]:
    return {
        "outcome": Category(np.full(rows, -1, dtype=np.int32), ()),
        "outcome_number": np.full(rows, np.nan),
        "outcome_at_us": np.full(rows, -1, dtype=np.int64),
    }


def _taken(column: Any, rows: Any) -> Any:
    if isinstance(column, Mapping):
        return {name: _taken(each, rows) for name, each in column.items()}
    return column.take(rows) if isinstance(column, Category) else column[rows]


def _between(found: Frame, from_us: int | None, to_us: int | None) -> Frame:
    wanted = np.ones(len(found), dtype=bool)
    if from_us is not None:
        wanted &= found.at_us >= from_us
    if to_us is not None:
        wanted &= found.at_us <= to_us
    return found if wanted.all() else found.take(wanted)


def _ordered(found: Frame) -> Frame:
    """Put the rows of several versions into the one order of the ledger."""
    keys = _key(found.idx, found.position)
    return found if np.all(keys[1:] >= keys[:-1]) else found.take(np.argsort(keys, kind="stable"))


def _joined(found: Frame, outcomes: Sequence[Mapping[str, bytes]]) -> Frame:
    """Give each row the last of its outcomes."""
    if not outcomes or not len(found):
        return found
    sizes = [len(_decode(each[OUTCOME + "idx"])[0]) for each in outcomes]
    read = _Reader(outcomes, sizes)
    keys = _key(read.whole(OUTCOME + "of"), read.whole(OUTCOME + "position"))
    order = np.lexsort((read.whole(OUTCOME + "idx"), keys))
    last = order[np.append(keys[order][1:] != keys[order][:-1], True)]
    mine = _key(found.idx, found.position)
    place = np.minimum(np.searchsorted(keys[last], mine), len(last) - 1)
    at = last[place]
    known = keys[at] == mine
    value, number = read.category(OUTCOME + "value"), read.numbers(OUTCOME + "number")[at]
    codes = np.where(known, value.codes[at], np.int32(-1))
    number = np.where(known, number, np.nan)
    is_told = (codes >= 0) | ~np.isnan(number)
    return replace(
        found,
        outcome=Category(codes, value.names),
        outcome_number=number,
        outcome_at_us=np.where(is_told, read.whole(OUTCOME + "at")[at], -1),
    )


def _key(idx: Whole, position: Whole) -> Whole:
    return (idx << _POSITION_BITS) | position


class _Reader:
    """The same column of every chunk, put together; a chunk that lacks it has no values."""

    def __init__(self, chunks: Sequence[Mapping[str, bytes]], sizes: Sequence[int]) -> None:
        self._chunks, self._sizes = chunks, sizes

    def whole(self, name: str) -> Whole:
        """Read whole numbers."""
        parts = [
            _decode(chunk[name])[0].astype(np.int64, copy=False)
            if name in chunk
            else np.zeros(size, np.int64)
            for chunk, size in zip(self._chunks, self._sizes, strict=True)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def numbers(self, name: str) -> Doubles:
        """Read doubles; text that holds a decimal number is one, everything else is NaN."""
        parts = [_doubles(*decoded) for decoded in self._decoded(name)]
        return np.concatenate(parts) if parts else np.empty(0)

    def category(self, name: str) -> Category:
        """Read texts; other values are their JSON."""
        names: dict[str, int] = {}
        parts = []
        for values, listed in self._decoded(name):
            codes, own = _texts(values, listed)
            places = np.array([names.setdefault(each, len(names)) for each in own] + [-1], dtype=np.int32)
            parts.append(places[codes])
        return Category(np.concatenate(parts) if parts else np.empty(0, np.int32), tuple(names))

    def either(self, name: str, is_numeric: bool | None) -> "Doubles | Category":
        """Read a feature, as numbers or as texts; None: as numbers where all are."""
        if is_numeric is None:
            is_numeric = all(listed is None for _, listed in self._decoded(name))
        return self.numbers(name) if is_numeric else self.category(name)

    def _decoded(self, name: str) -> Iterable[tuple[NDArray[Any], list[Any] | None]]:
        for chunk, size in zip(self._chunks, self._sizes, strict=True):
            yield _decode(chunk[name]) if name in chunk else (np.full(size, np.nan), None)


def _decode(body: bytes) -> tuple[NDArray[Any], list[Any] | None]:
    """Read one body: its values, or places and the list they are places in."""
    kind = body[:1]
    if kind == b"d":
        return np.frombuffer(body, "<f8", offset=1), None
    if kind == b"c":
        end = 5 + int.from_bytes(body[1:5], "little")
        return np.frombuffer(body, "<i4", offset=end), json.loads(body[5:end])
    least = int.from_bytes(body[1:9], "little", signed=True)
    above = np.frombuffer(body, _WHOLE[kind], offset=9)
    return above.astype(np.int64) + least, None


def _doubles(values: NDArray[Any], listed: list[Any] | None) -> Doubles:
    if listed is None:
        return values.astype(np.float64, copy=False)
    known: Doubles = np.array([*map(_double, listed), np.nan])
    return known.take(values)  # -1 is the last


def _double(value: object) -> float:
    try:
        return float(value) if isinstance(value, str | float | int) else float("nan")
    except (ValueError, OverflowError):
        return float("nan")


def _texts(values: NDArray[Any], listed: list[Any] | None) -> tuple[NDArray[np.int32], list[str]]:
    if listed is not None:
        return values, [each if isinstance(each, str) else json.dumps(each) for each in listed]
    known = ~np.isnan(values.astype(np.float64, copy=False))
    codes = np.full(len(values), -1, dtype=np.int32)
    own, places = np.unique(values[known], return_inverse=True)
    codes[known] = places
    return codes, [json.dumps(each) for each in own.tolist()]
