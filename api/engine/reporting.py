"""Outcomes on their way to the ledger: each is a record, and many of one request are recorded together or not at all.

What may be recorded a door has looked up already. The answer to many is a record as well, the first of them: its output
names the others, so its receipt proves them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import structlog

from api import times
from api.engine.answers import Ready
from api.engine.desk import Answer, Desk, Request
from db.records import Kind, Origin, Outcome, Record, new_id

CHANGE = "outcome.report"
log = structlog.get_logger()


async def record(
    request: Request, head: Mapping[str, Any], desk: Desk, deliver: Callable[[Sequence[Ready]], None]
) -> None:
    """Record what a request that is inside reports, or refuse it; it is written out on another thread."""
    try:
        ready = await asyncio.to_thread(_ready, request, head)
    except Exception:
        log.exception("report-broke")
        desk.refuse([request], "internal", "nothing was recorded")
    else:
        deliver([ready])


def _ready(request: Request, head: Mapping[str, Any]) -> Ready:
    told = orjson.loads(request.body)
    return _one(request, told, head["status"], head["after"]) if head["one"] else _many(request, told)


def _one(request: Request, told: Mapping[str, Any], status: int, after: int | None) -> Ready:
    (row,) = told["rows"]
    record = _outcome(request, request.record, row, status, after)
    return Ready(answer=Answer(request=request, status=status, body=record.output), record=record)


def _many(request: Request, told: Mapping[str, Any]) -> Ready:
    """Make a record of every outcome that is news, and one of the answer, which says what became of each row."""
    results = told["results"]
    made = tuple(_outcomes(request, told["rows"], results))
    counts = {"recorded": len(made), "unchanged": told["unchanged"], "refused": told["refused"]}
    body = orjson.dumps({"record": str(request.record), **counts, "results": results})
    said = {"rows": told["of"], **counts}
    record = _record(request, request.record, said, body, 201, keyed=True)
    return Ready(answer=Answer(request=request, status=201, body=body), record=record, more=made)


def _outcomes(
    request: Request, rows: list[dict[str, Any]], results: list[dict[str, Any]]
) -> Iterator[Record]:
    for row in rows:
        result = results[row["row"]]
        record = _outcome(
            request, new_id(request.taken_at_us), row, 201 if result["status"] == "recorded" else 200
        )
        result["record"] = str(record.id)
        yield record


def _outcome(
    request: Request, id_: Any, row: Mapping[str, Any], status: int, after: int | None = None
) -> Record:
    at_us, value = request.taken_at_us, row["value"]
    seen_us = row.get("observed_at_us", at_us)
    said = {name: row[name] for name in ("prediction", "value", "observed_at_us") if name in row}
    about = {
        "prediction": row["prediction"],
        "model": row["model"],
        "version": row["version"],
        "value": value,
    }
    reported_at = times.text(at_us)
    seen = {
        "observed_at": reported_at if seen_us == at_us else times.text(seen_us),
        "reported_at": reported_at,
    }
    return _record(
        request,
        id_,
        said,
        orjson.dumps({"record": str(id_), **about, **seen}),
        status,
        keyed=id_ == request.record,
        model=row["model"],
        version=row["version"],
        origin=Origin(idx=row["idx"], position=row["position"]),
        outcome=Outcome(
            value=value if isinstance(value, str) else repr(float(value)),
            number=None if isinstance(value, str) else float(value),
            observed_at_us=seen_us,
            after=after,
        ),
    )


def _record(  # noqa: PLR0913  # likewise
    request: Request, id_: Any, said: Mapping[str, Any], body: bytes, status: int, *, keyed: bool, **more: Any
) -> Record:
    key = request.key if keyed else None
    meta = {"received_at_us": request.received_at_us} | ({} if key is None else key.told())
    return Record(
        id=id_,
        kind=Kind.OUTCOME,
        observed_at_us=request.taken_at_us,
        client_id=request.client_id,
        status=status,
        input=orjson.dumps({"change": CHANGE, "args": said}),
        output=body,
        actor=request.actor,
        meta=orjson.dumps(meta),
        key=key,
        **more,
    )
