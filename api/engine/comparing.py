"""Two answers to one request held against each other: the same bytes, the same within a tolerance, or not the same.

Pure. A pointer (RFC 6901) says where: `/status`, or a place in `/body`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isclose
from typing import Any

import orjson

TOLERANCE = 1e-9  # absolute, for every number; the contract says it, too
LISTED = 20
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An answer as it left: its status and its exact bytes."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What came out. `differences` are the first of `count`; `largest` is of numbers only, None where none differs."""

    verdict: str
    differences: list[dict[str, Any]]
    count: int
    largest: float | None


def compare(recorded: Given, replayed: Given, twin: float | None = None) -> Comparison:
    """Say whether an answer is `identical`, `equal` (no number is off by more than the tolerance), or `different`.

    `twin` is the tolerance of the twin that gave the recorded answer, where one did: of numbers beyond 1 a share.
    """
    if recorded == replayed:
        return Comparison(verdict="identical", differences=[], count=0, largest=None)
    if recorded.status == replayed.status:
        found = list(_differences("/body", orjson.loads(recorded.body), orjson.loads(replayed.body)))
    else:
        found = list(_differences("/status", recorded.status, replayed.status, is_number=False))
    by = [each["difference"] for each in found if "difference" in each]
    is_equal = len(by) == len(found) and all(_is_near(each, twin) for each in found)
    return Comparison(
        verdict="equal" if is_equal else "different",
        differences=found[:LISTED],
        count=len(found),
        largest=max(by, default=None),
    )


def _is_near(found: Mapping[str, Any], twin: float | None) -> bool:
    if twin is None:
        return bool(found["difference"] <= TOLERANCE)
    return isclose(found["recorded"], found["replayed"], rel_tol=twin, abs_tol=twin)


def _differences(at: str, left: Any, right: Any, *, is_number: bool = True) -> Iterator[dict[str, Any]]:
    """Walk both in the order of the recorded one; what only the replayed one has comes last."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for name in dict.fromkeys([*left, *right]):
            place = name.replace("~", "~0").replace("/", "~1")
            yield from _differences(f"{at}/{place}", left.get(name, _ABSENT), right.get(name, _ABSENT))
    elif isinstance(left, list) and isinstance(right, list):
        for place in range(max(len(left), len(right))):
            pair = [each[place] if place < len(each) else _ABSENT for each in (left, right)]
            yield from _differences(f"{at}/{place}", *pair)
    elif left != right or type(left) is not type(right):
        found = {"pointer": at, "recorded": left, "replayed": right}
        if is_number and _is_number(left) and _is_number(right):
            found["difference"] = abs(left - right)
        yield {name: value for name, value in found.items() if value is not _ABSENT}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
