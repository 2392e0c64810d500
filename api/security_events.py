"""Security events over HTTP: found by kind, client and time, page by page or as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from api import cells, cursors, times
from api.calls import JSON, Answer, Call
from db.lookups import Position
from db.security_events import FoundEvent, Wanted

PAGE = 20
_BATCH = 500
_COLUMNS = (
    *(
        "id",
        "at",
        "kind",
        "reason",
        "status",
        "client",
        "jti",
        "verified_signature",
        "claimed_kid",
        "address",
    ),
    *("operation", "target", "needed", "held", "body_bytes", "body_sha256", "request", "suppressed"),
)
Search = Callable[[Wanted, int | None, int], list[FoundEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityEvents:
    """Reads them from the database."""

    find: Search
    cursor_key: bytes

    def search(self, call: Call) -> Answer:
        """Answer one page as JSON, or everything that matches as a stream of lines."""
        wanted = _wanted(call)
        before = None
        if "cursor" in call.query:
            before = cursors.read(self.cursor_key, wanted, call.query["cursor"]).idx
        if call.accept != JSON:
            found = itertools.islice(self._all(wanted, before), call.query.get("limit"))
            return Answer(content=_STREAMS[call.accept](found), media_type=call.accept)
        limit = call.query.get("limit", PAGE)
        page = self.find(wanted, before, limit + 1)
        content: dict[str, Any] = {"events": [_shown(each) for each in page[:limit]]}
        if len(page) > limit:
            content["next"] = cursors.write(self.cursor_key, wanted, Position(page[limit - 1].id, 0))
        return Answer(content=content)

    def _all(self, wanted: Wanted, before: int | None) -> Iterator[FoundEvent]:
        while page := self.find(wanted, before, _BATCH):
            yield from page
            before = page[-1].id


def _wanted(call: Call) -> Wanted:
    query = call.query
    return Wanted(
        kind=query.get("kind"),
        client_id=query.get("client"),
        from_us=times.read_us(query["from"]) if "from" in query else None,
        # The database takes both ends of a range as inside.
        to_us=times.read_us(query["to"]) - 1 if "to" in query else None,
    )


def _shown(found: FoundEvent) -> dict[str, Any]:
    content = asdict(found.event)
    at = times.text(content.pop("at_us"))
    content = {"id": found.id, "at": at, "client": content.pop("client_id"), **content}
    return {name: value for name, value in content.items() if value is not None}


def _ndjson(found: Iterator[FoundEvent]) -> Iterator[bytes]:
    while batch := list(itertools.islice(found, _BATCH)):
        yield b"".join(orjson.dumps(_shown(each)) + b"\n" for each in batch)


def _csv(found: Iterator[FoundEvent]) -> Iterator[bytes]:
    return cells.table(_COLUMNS, map(_shown, found))


_STREAMS = {"text/csv": _csv, "application/x-ndjson": _ndjson}
