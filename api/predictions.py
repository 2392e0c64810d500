"""Predictions: the hot path that makes them, and the search that finds them again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from api import cells, cursors, times
from api.calls import JSON, Answer, Call, Claims
from api.keyed import keyed
from api.large import Unread
from api.line import EngineUnavailable, Line, recorded, unavailable
from api.problems import RequestRefused
from api.wire import HANDED_BACK, Frame
from db.lookups import Filter, FoundPrediction, Lookups, Position
from db.records import new_id

PAGE = 20
_BATCH = 500
_KINDS = {  # of each column what it holds, in the words of models/parquet.py
    **dict.fromkeys(("id", "record", "model", "version", "client"), "text"),
    "at": "time",
    **dict.fromkeys(("reference", "label"), "text"),
    "score": "number",
    "has_outcome": "boolean",
    "outcome": "text",  # of some models a label, of others a number
    "erased": "boolean",
}
_COLUMNS = tuple(_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Asks the engine for new predictions and the database for past ones."""

    line: Line
    lookups: Lookups
    cursor_key: bytes
    root_path: str
    clock_us: Callable[[], int]

    async def create(self, model: str, call: Call) -> Answer:
        """Hand the exact bytes to the engine; its answer comes when, and only when, the record is durable."""
        received_at_us = self.clock_us()
        head = {
            "do": "predict",
            "record": str(new_id(received_at_us)),
            "client": call.caller.client_id,
            "jti": call.caller.jti,
            "model": model,
            "version": call.body.get("version"),
            "alias": call.body.get("alias"),
            "explain": call.body.get("explain", False),
            "received_at_us": received_at_us,
            **keyed(call, f"POST /v1/models/{model}/predictions"),
        }
        if call.unread is not None:
            return await self._create_unread(head, call.unread, call.raw)
        return recorded(await self._ask(head, len(call.body["instances"]), call.raw), self.root_path)

    async def _create_unread(self, head: Mapping[str, Any], unread: Unread, raw: bytes) -> Answer:
        """Let the engine read a large body; where that gives no answer, what is wrong with the body is said first."""
        try:
            frame = await self._ask({**head, "unread": unread.told}, unread.count, raw)
        except RequestRefused:
            await unread.read()
            raise
        if frame.head["status"] >= 400:
            body, _ = await unread.read()
            if HANDED_BACK in frame.head:
                frame = await self._ask(head, len(body["instances"]), raw)
        return recorded(frame, self.root_path)

    async def _ask(self, head: Mapping[str, Any], instances: int, raw: bytes) -> Frame:
        try:
            return await self.line.ask({**head, "instances": instances}, raw)
        except EngineUnavailable as lost:
            raise unavailable(head["record"]) from lost

    def search(self, call: Call) -> Answer:
        """Answer one page as JSON, or everything that matches as a stream of lines."""
        wanted = _wanted(call)
        after = None
        if "cursor" in call.query:
            after = cursors.read(self.cursor_key, wanted, call.query["cursor"])
        if call.accept != JSON:
            found = itertools.islice(self._all(wanted, after), call.query.get("limit"))
            return Answer(content=_STREAMS[call.accept](found), media_type=call.accept)
        limit = call.query.get("limit", PAGE)
        page = self.lookups.search(wanted, after, limit + 1)
        content: dict[str, Any] = {"predictions": [_shown(each) for each in page[:limit]]}
        if len(page) > limit:
            last = page[limit - 1]
            content["next"] = cursors.write(self.cursor_key, wanted, Position(last.idx, last.position))
        return Answer(content=content)

    def read(self, call: Call) -> Answer:
        """Show one prediction with the instance that led to it, both as recorded."""
        record, _, position = call.path["id"].partition(".")
        found = self.lookups.prediction(UUID(record), int(position), own(call.caller))
        content = {
            **_shown(found.prediction),
            "digest": (found.record.digest or b"").hex(),
            "instance": orjson.loads(found.input)["instances"][int(position)],
            "prediction": orjson.loads(found.output)["predictions"][int(position)],
        }
        return Answer(content=content)

    def _all(self, wanted: Filter, after: Position | None) -> Iterator[FoundPrediction]:
        """Walk everything in short reads, so that a slow reader holds no transaction open."""
        while page := self.lookups.search(wanted, after, _BATCH):
            yield from page
            after = Position(page[-1].idx, page[-1].position)


def own(caller: Claims) -> str | None:
    """Name the only client whose records the caller may see; None with `audit:read`."""
    return None if "audit:read" in caller.scopes else caller.client_id


def _wanted(call: Call) -> Filter:
    query = dict(call.query)
    client = query.pop("client", None)
    mine = own(call.caller)
    if client is not None and mine not in (None, client):
        header = 'Bearer realm="onrecord", error="insufficient_scope", scope="audit:read"'
        raise RequestRefused(
            "forbidden", "another client needs the scope audit:read", WWW_Authenticate=header
        )
    return Filter(
        client_id=client or mine,
        from_us=_time(query.pop("from", None)),
        to_us=_before(query.pop("to", None)),
        **{name: value for name, value in query.items() if name not in ("limit", "cursor")},
    )


def _time(text: str | None) -> int | None:
    return None if text is None else times.read_us(text)


def _before(text: str | None) -> int | None:
    # The database takes both ends of a range as inside.
    return None if text is None else times.read_us(text) - 1


def _shown(found: FoundPrediction) -> dict[str, Any]:
    content = {
        "id": found.id,
        "record": found.id.partition(".")[0],
        "model": found.model,
        "version": found.version,
        "client": found.client_id or None,
        "at": times.text(found.observed_at_us),
        "has_outcome": found.has_outcome,
        "outcome": found.outcome,
        "reference": found.reference,
        "label": found.label,
        "score": found.score,
        "erased": found.is_erased or None,
    }
    return {name: value for name, value in content.items() if value is not None}


def _ndjson(found: Iterator[FoundPrediction]) -> Iterator[bytes]:
    while batch := list(itertools.islice(found, _BATCH)):
        yield b"".join(orjson.dumps(_shown(each)) + b"\n" for each in batch)


def _csv(found: Iterator[FoundPrediction]) -> Iterator[bytes]:
    return cells.table(_COLUMNS, map(_shown, found))


def _parquet(found: Iterator[FoundPrediction]) -> Iterator[bytes]:
    from models.parquet import Column, Table, stream  # a second, and memory that few doors need

    table = Table([Column(name=name, kind=kind) for name, kind in _KINDS.items()])
    batches = iter(lambda: list(itertools.islice(found, _BATCH)), [])
    return stream(table, (list(map(_typed, batch)) for batch in batches))


def _typed(found: FoundPrediction) -> dict[str, Any]:
    """Show one prediction as columns hold it: a time is a number, what happened a text."""
    content = _shown(found) | {"at": found.observed_at_us}
    return content | ({} if found.outcome is None else {"outcome": str(found.outcome)})


_STREAMS = {"text/csv": _csv, "application/x-ndjson": _ndjson, "application/vnd.apache.parquet": _parquet}
