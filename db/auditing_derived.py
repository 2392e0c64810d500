"""What was made from what, and what is known to have happened, held against the records that say so.

A replay names its original, an outcome its prediction; the rows of both have to lead there. Of each prediction the
newest outcome is a row, too: it has to say what the newest record about it says, and every older one has to be older.
Where a record was erased, its origin is what the record of the erasure says (db/auditing_erasures.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from db.auditing import Cause, Tally
from db.auditing_rows import Wrong, raw
from db.records import Kind

_OF_RANGE = text(
    "SELECT d.idx, d.of_idx, d.position, r.id AS of_id, p.outcome_idx AS known_idx,"
    " o.outcome_idx, o.value, o.number, o.observed_at_us, o.reported_at_us,"
    " d.position IS NOT NULL AND NOT EXISTS (SELECT 1 FROM derived e"
    "  WHERE e.of_idx = d.of_idx AND e.position = d.position AND e.idx < d.idx) AS is_first"
    " FROM derived d LEFT JOIN record r ON r.idx = d.of_idx"
    " LEFT JOIN outcome o ON o.prediction_idx = d.of_idx AND o.position = d.position"
    " LEFT JOIN prediction p ON p.idx = d.of_idx AND p.position = d.position"
    " WHERE d.idx >= :start AND d.idx < :stop"
)
_COUNTS = text("SELECT (SELECT count(*) FROM derived) AS derived, (SELECT count(*) FROM outcome) AS outcomes")
_STRAY = text(
    "SELECT o.prediction_idx, o.position, o.outcome_idx FROM outcome o LEFT JOIN derived d ON d.idx = o.outcome_idx"
    " AND d.of_idx = o.prediction_idx AND d.position = o.position WHERE d.idx IS NULL ORDER BY 1, 2 LIMIT 1"
)
_Origin = tuple[UUID, int | None]
_UNTOLD, _NOTHING = "untold", "nothing"


def of_range(connection: Connection, start: int, stop: int) -> dict[int, Any]:
    """Read what the records from `start` up to `stop` are said to be made from, with what is known of that."""
    return {row.idx: row for row in connection.execute(_OF_RANGE, {"start": start, "stop": stop})}


def differences(row: Any, origin: Any, erased: Collection[str]) -> Iterator[Wrong]:
    """Say what is wrong with the origin of one record, and with what is known of its prediction."""
    try:
        yield from _differences(row, origin, erased)
    except (ValueError, TypeError, KeyError, AttributeError) as strange:
        yield Cause.DERIVED, f"what it was made from cannot be read ({type(strange).__name__})"


def _differences(row: Any, origin: Any, erased: Collection[str]) -> Iterator[Wrong]:
    said = _said(row, erased)
    if origin is None:
        if isinstance(said, tuple):
            yield Cause.DERIVED, f"was made from {_named(said)}, and no row says so"
        return
    if said == _NOTHING:
        yield Cause.DERIVED, f"is said to be made from record {origin.of_idx}, and was made from none"
        return
    if isinstance(said, tuple) and (raw(origin.of_id), origin.position) != (said[0].bytes, said[1]):
        stored = f"record {origin.of_idx}, position {origin.position}"
        yield Cause.DERIVED, f"is said to be made from {stored}, and was made from {_named(said)}"
    elif origin.position is not None:
        yield from _known(row, origin, erased)


def strays(connection: Connection, met: Tally) -> Iterator[Wrong]:
    """Look for rows that no record made, once the walk has met so many that some did."""
    counted = connection.execute(_COUNTS).one()
    if stray := counted.derived - met.derived:
        yield Cause.DERIVED, f"{stray} rows of what was made from what belong to no record"
    if counted.outcomes != met.outcomes:
        yield Cause.OUTCOME, f"{counted.outcomes} predictions have an outcome, the records say {met.outcomes}"
    if (row := connection.execute(_STRAY).one_or_none()) is not None:
        where = f"prediction {row.prediction_idx}.{row.position}"
        yield (
            Cause.OUTCOME,
            f"{where} has an outcome of record {row.outcome_idx}, which is about another one, or none",
        )


def _said(row: Any, erased: Collection[str]) -> _Origin | str:
    """Read off a payload, which is known to be genuine by now, what the record was made from."""
    if row.kind == Kind.REPLAY:
        for name, field in (("output", "record"), ("meta", "replays")):
            if name not in erased:
                return UUID(orjson.loads(getattr(row, name))[field]), None
        return _UNTOLD
    if row.kind == Kind.OUTCOME:
        if "input" not in erased:
            return _prediction(orjson.loads(row.input)["args"])
        return _UNTOLD if "output" in erased else _prediction(orjson.loads(row.output))
    return _NOTHING


def _prediction(said: dict[str, Any]) -> _Origin | str:
    if "prediction" not in said:
        return _NOTHING  # it counts what many outcomes came to, which are records of their own
    record, _, position = said["prediction"].partition(".")
    return UUID(record), int(position)


def _known(row: Any, origin: Any, erased: Collection[str]) -> Iterator[Wrong]:
    where = f"prediction {origin.of_idx}.{origin.position}"
    if origin.outcome_idx is None or origin.outcome_idx < row.idx:
        yield (
            Cause.OUTCOME,
            f"the outcome of {where} is that of record {origin.outcome_idx}, and this is newer",
        )
        return
    if origin.known_idx != origin.outcome_idx:
        yield (
            Cause.OUTCOME,
            f"{where} has the outcome {origin.known_idx}, the outcome is that of {origin.outcome_idx}",
        )
    if origin.outcome_idx == row.idx:
        for name, value in _outcome(row, erased).items():
            if (have := getattr(origin, name)) != value:
                yield Cause.OUTCOME, f"{name} of {where} is {have!r}, the payload says {value!r}"


def _outcome(row: Any, erased: Collection[str]) -> dict[str, Any]:
    at_us = row.observed_at_us
    if "input" in erased:
        return {"value": None, "number": None, "observed_at_us": at_us, "reported_at_us": at_us}
    args = orjson.loads(row.input)["args"]
    value, observed_at_us = args["value"], args.get("observed_at_us", at_us)
    is_label = isinstance(value, str)
    return {
        "value": value if is_label else repr(float(value)),
        "number": None if is_label else float(value),
        "observed_at_us": observed_at_us,
        "reported_at_us": at_us,
    }


def _named(origin: _Origin) -> str:
    record, position = origin
    return f"{record}.{position}" if position is not None else str(record)
