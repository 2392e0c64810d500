"""Recorded predictions as columns: one packed bytes value for each, read off the exact bytes that went in and came out.

Pure, standard library only, so that an audit can make again what is stored; db/blocks.py stores it. What the numbers
mean is for models/columns.py, which reads this format with numpy:

    packed   `p` + body, or `z` + the body compressed (zlib), whichever is worth it
    body     `B` `H` `I` `Q` + the least value (8 bytes) + what each is above it: whole numbers
             `d` + doubles, NaN where there is no value
             `c` + length (4 bytes) + JSON list of the values there are + each one's place in it (4 bytes), -1: none

All little-endian. The same values give the same body for ever; compression may differ with the library.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import orjson

from db.auditing_rows import score

PLAIN, ZIPPED = b"p", b"z"
FEATURE, PROBABILITY = "feature:", "probability:"
# Of reports: their places, what they are about, what they say, and when that was seen.
OUTCOME = tuple(f"outcome:{name}" for name in ("idx", "of", "position", "value", "number", "at"))
MADE = ("", "", "")  # model, version and name of what says that the columns of a span are made
_WORTH = 0.9  # what compression must save, or reading would pay for nothing
_WHOLE = (("B", 2**8), ("H", 2**16), ("I", 2**32), ("Q", 2**64))
_INT64 = 2**63
_NUMBERS = frozenset({int, float, NoneType})
_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A recorded prediction of which neither input nor output was erased."""

    idx: int
    observed_at_us: int
    model: str
    version: str
    input: bytes
    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What really happened to a prediction, as one record says; `value` is None where that was erased."""

    idx: int
    observed_at_us: int
    model: str
    version: str
    of_idx: int
    position: int
    value: str | float | None


@dataclass(slots=True)
class _Rows:
    """The instances of one version, in the order of the ledger."""

    idx: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    at_us: list[int] = field(default_factory=list)
    instances: list[Mapping[str, Any]] = field(default_factory=list)
    answers: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, record: Answered) -> None:
        """Take in every instance of a record; raises what bytes of another shape raise."""
        instances = orjson.loads(record.input)["instances"]
        answers = orjson.loads(record.output)["predictions"]
        count = len(instances)
        self.idx += [record.idx] * count
        self.position += range(count)
        self.at_us += [record.observed_at_us] * count
        self.instances += instances
        self.answers += answers

    def columns(self) -> dict[str, Sequence[Any]]:
        """Name what there is; a value that an instance or an answer does not have is None."""
        answers = self.answers
        found: dict[str, Sequence[Any]] = {"idx": self.idx, "position": self.position, "at": self.at_us}
        for name in sorted({name for each in self.instances for name in each} - {"reference"}):
            found[FEATURE + name] = [each.get(name) for each in self.instances]
        found["label"] = [each.get("label") for each in answers]
        found["score"] = [score(each) for each in answers]
        shares = [each.get("probabilities") or {} for each in answers]
        for name in sorted({name for each in shares for name in each}):
            found[PROBABILITY + name] = [each.get(name) for each in shares]
        found["warnings"] = [len(each.get("warnings", ())) for each in answers]
        return found


def of(records: Iterable[Answered | Reported]) -> dict[tuple[str, str], dict[str, bytes]]:
    """Make the columns of these records, not packed yet, for each (model, version) among them."""
    answered: dict[tuple[str, str], _Rows] = {}
    reported: dict[tuple[str, str], list[Reported]] = {}
    for each in records:
        key = (each.model, each.version)
        if isinstance(each, Answered):
            answered.setdefault(key, _Rows()).add(each)
        else:
            reported.setdefault(key, []).append(each)
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    for key, rows in answered.items():
        found[key] = {name: body(values) for name, values in rows.columns().items()}
    for key, reports in reported.items():
        found.setdefault(key, {}).update({name: body(values) for name, values in _reports(reports).items()})
    return found


def report(content: bytes | None, **about: Any) -> Reported:
    """Make a report of the exact bytes of its record; where they were erased, it says only what it is about."""
    if not content:
        return Reported(**about, value=None)
    said = orjson.loads(content)["args"]
    value = said["value"]
    at_us = said.get("observed_at_us", about["observed_at_us"])
    return Reported(
        **{**about, "observed_at_us": at_us}, value=value if isinstance(value, str) else float(value)
    )


def _reports(reports: Sequence[Reported]) -> dict[str, Sequence[Any]]:
    values = [each.value for each in reports]
    columns: tuple[Sequence[Any], ...] = (
        [each.idx for each in reports],
        [each.of_idx for each in reports],
        [each.position for each in reports],
        [each if isinstance(each, str) else None for each in values],
        [each if isinstance(each, float) else None for each in values],
        [each.observed_at_us for each in reports],
    )
    return dict(zip(OUTCOME, columns, strict=True))


def body(values: Sequence[Any]) -> bytes:
    """Write values in the narrowest form that loses nothing of them."""
    kinds = set(map(type, values))
    if kinds == {int} and (whole := _whole(values)):
        return whole
    if kinds <= _NUMBERS:
        try:
            return b"d" + _bytes(array("d", [_NAN if each is None else each for each in values]))
        except OverflowError:
            pass  # a whole number beyond all doubles: kept as text is
    return _listed(values, is_text=kinds <= {str, NoneType})


def pack(content: bytes) -> bytes:
    """Compress a body, where that is worth it."""
    zipped = zlib.compress(content, 1)
    return ZIPPED + zipped if len(zipped) < _WORTH * len(content) else PLAIN + content


def unpack(packed: bytes) -> bytes:
    """Read what `pack` wrote; raises ValueError on anything else."""
    try:
        if packed[:1] == PLAIN:
            return packed[1:]
        if packed[:1] == ZIPPED:
            return zlib.decompress(packed[1:])
    except zlib.error as error:
        raise ValueError("is not compressed as it says") from error
    raise ValueError("is not packed")


def _whole(values: Sequence[int]) -> bytes | None:
    least, most = min(values), max(values)
    if least < -_INT64 or most >= _INT64:
        return None
    kind = next(kind for kind, end in _WHOLE if most - least < end)
    above = array(kind, [each - least for each in values])
    return kind.encode() + least.to_bytes(8, "little", signed=True) + _bytes(above)


def _listed(values: Sequence[Any], *, is_text: bool) -> bytes:
    # 1, 1.0 and True are one key of a dict: only texts are their own.
    keys = values if is_text else [None if each is None else orjson.dumps(each) for each in values]
    places: dict[Any, int] = {}
    for key in keys:
        if key is not None and key not in places:
            places[key] = len(places)
    there = orjson.dumps(list(places)) if is_text else b"[" + b",".join(places) + b"]"
    codes = array("i", [-1 if key is None else places[key] for key in keys])
    return b"c" + len(there).to_bytes(4, "little") + there + _bytes(codes)


def _bytes(values: array[Any]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()
