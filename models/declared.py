"""
What a contract allows in instances, as whoever reads them may hold columns against it: names, types, ranges, texts.

Only a yes means something here. What is not kept may be wrong, or may be said in a way that this file does not know:
who wants to hear what is wrong with a request asks the contract itself.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import NoneType
from typing import Any, Self

Column = Sequence[object]

_TYPES: Mapping[str, frozenset[type]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "null": frozenset({NoneType}),
}


class Undeclared(Exception):
    """The instances are not plainly such as the contract declares them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the contract says of one member of an instance; `values` are all there may be, where it lists them."""

    types: frozenset[type]
    low: float = -inf
    high: float = inf
    values: frozenset[str | None] | None = None
    longest: float = inf
    pattern: re.Pattern[str] | None = None

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """Read a schema that has no other members than those named here; raises KeyError on one that has."""
        named = {
            "types": frozenset().union(*(_TYPES[each] for each in said["type"])),
            "low": said.get("minimum", -inf),
            "high": said.get("maximum", inf),
            "longest": said.get("maxLength", inf),
            "values": frozenset(said["enum"]) if "enum" in said else None,
            "pattern": re.compile(said["pattern"]) if "pattern" in said else None,
        }
        return cls(**named)

    def covers(self, types: frozenset[type], low: float, high: float, values: frozenset[object]) -> bool:
        """Say whether all columns of these types, numbers of this range, or else of these values, are allowed."""
        if self.values is not None:
            return not types & _TYPES["number"] and self.values.issuperset(values)
        if self.pattern is not None or self.longest < inf or not self.types.issuperset(types):
            return False
        return not types & _TYPES["number"] or (self.low <= low and high <= self.high)

    def insist(self, name: str, column: Column) -> None:
        """Hold the column of this name against it; raises Undeclared."""
        if not self.allows(column):
            raise Undeclared(name)

    def allows(self, column: Column) -> bool:
        """Say whether all of these values are allowed; they come from JSON, so no number is anything but finite."""
        if self.values is not None:
            return self._are_listed(column)
        types = set(map(type, column))
        if not self.types.issuperset(types):
            return False
        found: Any = column if NoneType not in types else [each for each in column if each is not None]
        if not found:
            return True
        if types & _TYPES["number"]:
            return bool(self.low <= min(found) and max(found) <= self.high)
        return str not in types or self._are_texts(found)

    def _are_listed(self, column: Column) -> bool:
        assert self.values is not None, "asked where values are listed"
        try:
            return self.values.issuperset(column)
        except TypeError:  # arrays and objects have no hash
            return False

    def _are_texts(self, texts: Sequence[str]) -> bool:
        if max(map(len, texts)) > self.longest:
            return False
        return self.pattern is None or all(map(self.pattern.search, texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the contract says of instances: all of `features` have to be there, a reference may be, and nothing else."""

    features: Mapping[str, Allowed]
    reference: Allowed

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """Read it off the schemas of the features and of the reference; raises KeyError, or what is no pattern."""
        features = {name: Allowed.read(schema) for name, schema in said["features"].items()}
        return cls(features=features, reference=Allowed.read(said["reference"]))

    def insist_on_members(self, instances: Sequence[Mapping[str, object]], features: Collection[str]) -> None:
        """
        Hold instances against this, provided that all have these features; the values of those are not looked at.

        Raises:
            Undeclared: there is another member, a reference is not allowed, or the features are others here.
        """
        if self.features.keys() != set(features):
            raise Undeclared("the version has other features than the contract")
        references = [each["reference"] for each in instances if "reference" in each]
        if sum(map(len, instances)) != len(instances) * len(features) + len(references):
            raise Undeclared("an instance has a member that is no feature")
        if not self.reference.allows(references):
            raise Undeclared("a reference")
