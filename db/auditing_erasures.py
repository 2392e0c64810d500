"""What is gone held against the records that say it went: each erasure is accounted for from both ends.

A record of which something is missing has to be named by an erasure that stands behind it in the ledger. An erasure has
to have happened to all that it names, and the columns of those records, which no payload vouches for any more, have to
be what it says of them. Both are looked at where the walk meets them, so that nothing has to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, text

from db.auditing import Cause
from db.auditing_rows import Wrong
from db.records import Kind, fields, mask

_OF_RANGE = text(
    "SELECT e.idx, e.erasure_idx, e.fields, r.kind FROM erased e LEFT JOIN record r ON r.idx = e.erasure_idx"
    " WHERE e.idx >= :start AND e.idx < :stop ORDER BY e.idx, e.erasure_idx"
)
_BY_ERASURE = text(
    "SELECT e.idx, e.fields, r.model, r.version, (SELECT count(*) FROM prediction p WHERE p.idx = e.idx) AS rows,"
    " d.of_idx, d.position FROM erased e LEFT JOIN record r ON r.idx = e.idx LEFT JOIN derived d ON d.idx = e.idx"
    " WHERE e.erasure_idx = :idx ORDER BY e.idx"
)
_COUNT = text("SELECT count(*) FROM erased")


def of_range(connection: Connection, start: int, stop: int) -> dict[int, list[Any]]:
    """Read what is said to be erased of the records from `start` up to `stop`."""
    found: dict[int, list[Any]] = {}
    for row in connection.execute(_OF_RANGE, {"start": start, "stop": stop}):
        found.setdefault(row.idx, []).append(row)
    return found


def union(rows: Sequence[Any]) -> tuple[str, ...]:
    """Name all that is said to be erased of one record."""
    bits = 0
    for row in rows:
        bits |= row.fields
    return fields(bits)


def claims(rows: Sequence[Any]) -> Iterator[Wrong]:
    """Look at the erasures that one record is said to have gone through: they are records of that kind behind it."""
    seen = 0
    for row in rows:
        if row.kind != Kind.ERASURE or row.erasure_idx <= row.idx:
            yield Cause.ERASURE, f"record {row.erasure_idx}, said to have erased it, is no later erasure"
        if row.fields <= 0 or row.fields & seen or mask(fields(row.fields)) != row.fields:
            yield Cause.ERASURE, f"is said to have lost {row.fields} to record {row.erasure_idx}"
        seen |= row.fields


def promised(connection: Connection, row: Any) -> Iterator[Wrong]:
    """Look at what the record of an erasure promised: all of it happened, to these records, and nothing else did."""
    if row.kind != Kind.ERASURE or row.input is None:
        return
    try:
        args = orjson.loads(row.input)["args"]
        said = dict(_said(args["erased"]))
        origins = (
            {idx: (of, position) for idx, of, position in args["derived"]} if "derived" in args else None
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        yield Cause.ERASURE, "cannot be read as an erasure"
        return
    rows = connection.execute(_BY_ERASURE, {"idx": row.idx}).all()
    done = {each.idx: tuple(each)[1:5] for each in rows}
    for idx in sorted(said.keys() | done.keys()):
        if idx not in done:
            yield Cause.ERASURE, f"record {idx} was promised to be erased, and is still present"
        elif idx not in said:
            yield Cause.ERASURE, f"record {idx} is erased in its name, and not by it"
        elif done[idx] != said[idx]:
            yield Cause.ERASURE, f"record {idx} is {done[idx]!r}, the erasure says {said[idx]!r}"
    yield from _origins(rows, origins)


def _origins(rows: Sequence[Any], said: Mapping[int, tuple[Any, ...]] | None) -> Iterator[Wrong]:
    """Look at what erased records were made from; erasures of earlier releases say nothing of it."""
    for each in rows if said is not None else ():
        stored, told = (each.of_idx, each.position), (said or {}).get(each.idx, (None, None))
        if stored != told:
            detail = f"record {each.idx} is said to be made from {stored!r}, the erasure says {told!r}"
            yield Cause.DERIVED, detail


def strays(connection: Connection, met: int) -> Iterator[Wrong]:
    """Look for rows that belong to no record, once the walk has met so many that do."""
    if stray := int(connection.scalars(_COUNT).one()) - met:
        yield Cause.ERASURE, f"{stray} rows of what is erased belong to no record"


def _said(groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for group in groups:
        about = (mask(group["fields"]), group["model"], group["version"], group["predictions"])
        for first, last in group["records"]:
            for idx in range(first, last + 1):
                yield idx, about
