"""
From instances as they were sent to rows an estimator may see.

The contract has judged form and range already; here the types are insisted on once more, because an estimator
would convert a string or predict from a NaN without a word, and what is legal but unlike the training data is noted.

Everything works by column: looking for the one that is wrong starts only when a whole column is known to hold it,
so that ten thousand good rows cost a handful of passes at the speed of C.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf, isfinite
from operator import itemgetter
from types import NoneType
from typing import cast

from models.declared import Allowed, Declared, Undeclared
from models.manifest import FeatureProfile

Column = list[object]

# What one problem lists; the reader of a longer list fixes the first ones and asks again (security.md, E1).
LISTED_CULPRITS = 20

_TYPES: Mapping[str, frozenset[type]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "category": frozenset({str}),
    "boolean": frozenset({bool}),
}
_NUMERIC = frozenset({"number", "integer"})
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_ABSENT = object()
_DEMANDS: Mapping[str, str] = {
    "number": "must be a number",
    "integer": "must be an integer",
    "category": "must be a string",
    "boolean": "must be true or false",
}


@dataclass(frozen=True, slots=True)
class Culprit:
    """One value that cannot be predicted from: where it stands in the request, and what it must be instead."""

    pointer: str
    detail: str


class BadFeatures(Exception):
    """Some values are nothing to predict from. Lists the first `culprits` in the order of the request, counts all."""

    def __init__(self, culprits: tuple[Culprit, ...], total: int) -> None:
        first = culprits[0]
        super().__init__(
            f"{total} values cannot be predicted from, the first: {first.pointer} {first.detail}"
        )
        self.culprits = culprits
        self.total = total


@dataclass(frozen=True, slots=True)
class Unlike:
    """A legal value such as the training data did not hold: the answer stands, with this warning."""

    feature: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked instances, column by column in the order of the features; only `Features.check` makes them."""

    columns: tuple[Column, ...]
    unlike: list[tuple[Unlike, ...]]

    def __len__(self) -> int:
        return len(self.unlike)

    def part(self, start: int, stop: int) -> "Rows":
        """Cut out the rows of one of the requests that were checked together."""
        return Rows(tuple(column[start:stop] for column in self.columns), self.unlike[start:stop])

    @staticmethod
    def join(parts: Sequence["Rows"]) -> "Rows":
        """Put the rows of several requests to the same model behind one another, for one call of the estimator."""
        if len(parts) == 1:
            return parts[0]
        columns = zip(*(part.columns for part in parts), strict=True)
        return Rows(
            tuple(list(chain.from_iterable(pieces)) for pieces in columns),
            list(chain.from_iterable(part.unlike for part in parts)),
        )


class Features:
    """All features of one version, in training order."""

    __slots__ = ("_names", "_pick", "_readers", "_texts")

    def __init__(self, profiles: Sequence[FeatureProfile]) -> None:
        self._readers = tuple(_Reader(profile) for profile in profiles)
        self._names = tuple(profile.name for profile in profiles)
        self._pick = _picking(self._names)
        self._texts = [place for place, profile in enumerate(profiles) if profile.text]

    def check(self, instances: Sequence[Mapping[str, object]], declared: Declared | None = None) -> Rows:
        """
        Turn instances into rows, whole or not at all.

        Members that are no features ("reference") are passed over: the contract refuses strangers at the door. Where
        no door has read them, it is `declared` what the contract allows.

        Raises:
            BadFeatures: naming every culprit by its JSON Pointer into the request, never by its value.
            Undeclared: they are not plainly what the contract allows (models/declared.py).
        """
        if declared is not None:
            declared.insist_on_members(instances, self._names)
        if not instances:
            return Rows(tuple([] for _ in self._readers), [])
        columns = []
        found: list[tuple[int, int, Culprit]] = []
        total = 0
        unlike: list[tuple[Unlike, ...]] = [()] * len(instances)
        given = self._columns(instances, may_lack=declared is None)
        for place, (reader, column) in enumerate(zip(self._readers, given, strict=True)):
            is_ordinary = reader.is_ordinary(column)
            if declared is not None:
                reader.insist(declared.features[self._names[place]], column, is_ordinary=is_ordinary)
            if is_ordinary:
                columns.append(column)
            elif reader.accepts(column):
                columns.append(column)
                reader.note_unlike(column, unlike)
            else:
                culprits = list(reader.culprits(column))
                total += len(culprits)
                found += [(row, place, culprit) for row, culprit in culprits[:LISTED_CULPRITS]]
        if found:
            found.sort(key=itemgetter(0, 1))
            raise BadFeatures(tuple(culprit for _, _, culprit in found[:LISTED_CULPRITS]), total)
        return Rows(tuple(columns), unlike)

    def _columns(self, instances: Sequence[Mapping[str, object]], *, may_lack: bool) -> list[Column]:
        """Take all features out of every instance, each of which is visited once: they do not fit into a cache."""
        try:
            values = list(chain.from_iterable(map(self._pick, instances)))
        except KeyError as lacking:
            if not may_lack:
                raise Undeclared("an instance lacks a feature") from lacking
            return [reader.column(instances) for reader in self._readers]
        columns = [values[place :: len(self._readers)] for place in range(len(self._readers))]
        for place in self._texts:
            columns[place] = self._readers[place].read(columns[place])
        return columns


def _picking(names: Sequence[str]) -> Callable[[Mapping[str, object]], tuple[object, ...]]:
    """Say how these members are taken out of an instance; raises KeyError where one lacks."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda instance: tuple(instance[name] for name in names)


class _Reader:
    """What one feature demands of its column, looked up once when the version is loaded."""

    def __init__(self, profile: FeatureProfile) -> None:
        self._profile = profile
        self._pointer = profile.name.replace("~", "~0").replace("/", "~1")
        self._is_numeric = profile.kind in _NUMERIC
        self._allowed = _TYPES[profile.kind] | ({NoneType} if profile.nullable else frozenset())
        self._ordinary = _TYPES[profile.kind]
        self._low = -inf if profile.low is None else profile.low
        self._high = inf if profile.high is None else profile.high
        self._known = frozenset(profile.categories or (True, False))
        if profile.missing and not self._is_numeric:
            self._ordinary |= {NoneType}
            self._known |= {None}
        self._is_text = all(isinstance(each, str | NoneType) for each in self._known)
        span = f"the training range {_plain(self._low)} to {_plain(self._high)}"
        self._below = Unlike(profile.name, f"is below {span}")
        self._above = Unlike(profile.name, f"is above {span}")
        self._unseen = Unlike(profile.name, "is a category that the training data did not hold")
        self._missing = Unlike(profile.name, "is missing, which it never was in the training data")

    def column(self, instances: Sequence[Mapping[str, object]]) -> Column:
        """Take this feature out of every instance, also where it is missing."""
        absent = None if self._profile.nullable else _ABSENT
        return self.read([instance.get(self._profile.name, absent) for instance in instances])

    def read(self, column: Column) -> Column:
        """Read values as they were sent; where text may be a number, it is one from here on."""
        return list(map(_number_of, column)) if self._profile.text else column

    def is_ordinary(self, column: Column) -> bool:
        """True when the whole column is such as training saw; False is only a reason to look closer."""
        if self._is_text and not self._is_numeric:
            return self._are_known(column)
        types = set(map(type, column))
        if not self._ordinary.issuperset(types):
            return False
        if not self._is_numeric:
            return self._known.issuperset(column)
        numbers = cast(list[float], column)
        least, most = min(numbers), max(numbers)
        if not (self._low <= least and most <= self._high):
            return False
        # A NaN can hide from min and max, an integer beyond the doubles cannot.
        return all(map(isfinite, (least, most) if types == {int} else numbers))

    def insist(self, allowed: Allowed, column: Column, *, is_ordinary: bool) -> None:
        """Hold a column against what the contract allows; raises Undeclared, also where it is not as it was sent."""
        if self._profile.text:
            raise Undeclared(self._profile.name)
        if not (is_ordinary and allowed.covers(self._ordinary, self._low, self._high, self._known)):
            allowed.insist(self._profile.name, column)

    def _are_known(self, column: Column) -> bool:
        """Say whether all are known categories; what equals a text is one, so that no type has to be looked at."""
        try:
            return self._known.issuperset(column)
        except TypeError:  # arrays and objects have no hash
            return False

    def accepts(self, column: Column) -> bool:
        """True when every value of the column can be predicted from."""
        if not self._allowed.issuperset(map(type, column)):
            return False
        return not self._is_numeric or _all_finite(self._numbers(column))

    def culprits(self, column: Column) -> Iterator[tuple[int, Culprit]]:
        """Name the rows whose value cannot be predicted from, in their order."""
        for row, value in enumerate(column):
            if not self.accepts([value]):
                yield row, Culprit(f"/instances/{row}/{self._pointer}", self._demand(value))

    def note_unlike(self, column: Column, unlike: list[tuple[Unlike, ...]]) -> None:
        """Add a warning to each row whose value is legal but was not met in training."""
        for row, value in enumerate(column):
            if oddity := self._oddity(value):
                unlike[row] += (oddity,)

    def _demand(self, value: object) -> str:
        if value is _ABSENT:
            return "is required"
        if type(value) in self._allowed:
            return "must be finite"
        if value is None:
            return "must not be null"
        return "must be a number, or decimal text" if self._profile.text else _DEMANDS[self._profile.kind]

    def _oddity(self, value: object) -> Unlike | None:
        if value is None:
            return None if self._profile.missing else self._missing
        if not self._is_numeric:
            return None if value in self._known else self._unseen
        number = cast(float, value)
        if number < self._low:
            return self._below
        return self._above if number > self._high else None

    def _numbers(self, column: Column) -> list[float]:
        if self._profile.nullable:
            column = [value for value in column if value is not None]
        return cast(list[float], column)


def _all_finite(numbers: list[float]) -> bool:
    try:
        return all(map(isfinite, numbers))
    except OverflowError:  # an integer beyond the largest double
        return False


def _number_of(value: object) -> object:
    """Convert decimal text; what is no decimal text stays what it is, for `accepts` to refuse."""
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else value


def _plain(number: float) -> str:
    return repr(number).removesuffix(".0")
