"""The independent checker's own reading of what was made from what, and of what is known to have happened.

Imports nothing of ours, like tests/auditor.py, of which it is a part. Where a payload was erased, the record of the
erasure says what its record had been made from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from uuid import UUID

from tests.auditor_tree import Row, raw, uuid

_REPLAY, _ERASURE, _OUTCOME = 4, 5, 10
_Place = tuple[int, int | None]


_Told = tuple[list[Row], Mapping[UUID, Row], Mapping[int, Collection[str]]]


def derived(
    told: _Told, rows: list[Row], outcomes: list[Row], predictions: list[Row]
) -> Iterator[tuple[str, str]]:
    """Hold the rows of both tables, and the column that repeats them, against all that is on record."""
    yield from _Derived(*told).check(rows, outcomes, predictions)


class _Derived:
    """What every record says that it was made from, read in the order of the ledger."""

    def __init__(
        self, records: list[Row], payloads: Mapping[UUID, Row], gone: Mapping[int, Collection[str]]
    ) -> None:
        self._places = {uuid(row["id"]): row["idx"] for row in records}
        self._origins: dict[int, _Place] = {}
        self._untold: set[int] = set()
        self._outcomes: dict[_Place, Row] = {}
        for row in records:
            erased = gone.get(row["idx"], ())
            payload = payloads.get(uuid(row["id"]), {})
            if row["kind"] in (_REPLAY, _OUTCOME):
                self._origin(row["idx"], row["kind"], payload, erased)
            if row["kind"] == _ERASURE and payload:
                self._erased(json.loads(raw(payload["input"]))["args"])
        for row in records:
            if row["kind"] == _OUTCOME and row["idx"] in self._origins:
                payload = {} if "input" in gone.get(row["idx"], ()) else payloads[uuid(row["id"])]
                self._outcomes[self._origins[row["idx"]]] = _outcome(row, payload)

    def _origin(self, idx: int, kind: int, payload: Row, erased: Collection[str]) -> None:
        said = {
            name: json.loads(raw(payload[name]))
            for name in ("input", "output", "meta")
            if name not in erased and payload[name]
        }
        named = said.get("output", {}).get("record") or said.get("meta", {}).get("replays")
        if kind == _OUTCOME:
            named = said.get("input", {}).get("args", {}).get("prediction") or said.get("output", {}).get(
                "prediction"
            )
        if named is not None:
            record, _, position = named.partition(".")
            self._origins[idx] = self._places.get(UUID(record), -1), int(position) if position else None
        elif not said.keys() & ({"input", "output"} if kind == _OUTCOME else {"output", "meta"}):
            self._untold.add(idx)

    def _erased(self, args: Mapping[str, Any]) -> None:
        for idx, of, position in args.get("derived", ()):
            if idx in self._untold:
                self._origins[idx] = of, position

    def check(
        self, derived: list[Row], outcomes: list[Row], predictions: list[Row]
    ) -> Iterator[tuple[str, str]]:
        stored = {row["idx"]: (row["of_idx"], row["position"]) for row in derived}
        for idx in sorted(stored.keys() | self._origins.keys()):
            if stored.get(idx) != self._origins.get(idx):
                yield (
                    f"record {idx}",
                    f"comes from {stored.get(idx)}, its payload says {self._origins.get(idx)}",
                )
        known = {(row["prediction_idx"], row["position"]): row for row in outcomes}
        for place in sorted(known.keys() | self._outcomes.keys(), key=str):
            want = self._outcomes.get(place)
            have = {name: known[place][name] for name in want or known[place]} if place in known else None
            if have != want:
                yield f"outcome {place}", f"is {have}, the records say {want}"
        repeated = {
            (row["idx"], row["position"]): row["outcome_idx"]
            for row in predictions
            if row["outcome_idx"] is not None
        }
        expected = {place: row["outcome_idx"] for place, row in self._outcomes.items()}
        for place in sorted(repeated.keys() | expected.keys(), key=str):
            if repeated.get(place) != expected.get(place):
                yield f"prediction {place}", f"has outcome {repeated.get(place)}, not {expected.get(place)}"


def _outcome(row: Row, payload: Row) -> Row:
    at_us = row["observed_at_us"]
    said: Row = {"value": None, "number": None, "observed_at_us": at_us, "reported_at_us": at_us}
    if payload:
        args = json.loads(raw(payload["input"]))["args"]
        value = args["value"]
        said["value"] = value if isinstance(value, str) else repr(float(value))
        said["number"] = None if isinstance(value, str) else float(value)
        said["observed_at_us"] = args.get("observed_at_us", at_us)
    return {"outcome_idx": row["idx"], **said}
