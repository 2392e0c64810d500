"""Security events: who was denied what, and who was given a token. They help operators; they prove nothing.

Not part of the ledger: they are capped, may be lost while nothing can be written, and are deleted after a time. None
holds a secret, a token or a body; whoever is named in one has proved to be it, by a secret or by a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, delete, insert, select

from db.engine import is_storable, reading
from db.registers import security_event
from db.tables import record

_LAST = 2**62  # no time and no id is beyond this
_RECORD_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityEvent:
    """One attempt; with `suppressed`, the number of those of its kind and minute that have no row of their own."""

    at_us: int
    kind: str
    reason: str
    status: int | None = None
    client_id: str | None = None
    jti: str | None = None
    verified_signature: bool | None = None
    claimed_kid: str | None = None
    address: str | None = None
    operation: str | None = None
    target: str | None = None
    needed: str | None = None
    held: str | None = None
    body_bytes: int | None = None
    body_sha256: str | None = None
    request: str | None = None
    suppressed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look for; None means "any". Both ends of a range belong to it."""

    kind: str | None = None
    client_id: str | None = None
    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvent:
    """One event and its place in the order in which they were written."""

    id: int
    event: SecurityEvent


def add(connection: Connection, events: Sequence[SecurityEvent]) -> None:
    """Write a batch; whoever asked for another client's record becomes `foreign` (OWASP API1:2023).

    Only here, after the answer: what the caller was told, and how soon, must not depend on whose the record is.
    """
    asked = {each.request: found for each in events if (found := _in_vain(each)) is not None}
    owners = _owners(connection, asked.values())
    marked = [
        replace(each, kind="foreign")
        if owners.get(asked.get(each.request), each.client_id) != each.client_id
        else each
        for each in events
    ]
    connection.execute(insert(security_event), [asdict(each) for each in marked])


def purge(connection: Connection, before_us: int, most: int) -> int:
    """Delete at most so many that are older than this, and say how many there were."""
    old = select(security_event.c.id).where(security_event.c.at_us < before_us)
    chosen = old.order_by(security_event.c.at_us).limit(most)
    return connection.execute(delete(security_event).where(security_event.c.id.in_(chosen))).rowcount


def search(engine: Engine, wanted: Wanted, before: int | None, limit: int) -> list[FoundEvent]:
    """Return at most `limit`, the last written first, starting behind `before`.

    Raises:
        StorageUnavailable: the database failed.
    """
    c = security_event.c
    if wanted.client_id is not None and not is_storable(wanted.client_id):
        return []  # what no database can have stored
    conditions = [
        *([] if wanted.kind is None else [c.kind == wanted.kind]),
        *([] if wanted.client_id is None else [c.client_id == wanted.client_id]),
        *([] if wanted.from_us is None else [c.at_us >= _stored(wanted.from_us)]),
        *([] if wanted.to_us is None else [c.at_us <= _stored(wanted.to_us)]),
        *([] if before is None else [c.id < min(before, _LAST)]),
    ]
    query = select(security_event).where(*conditions).order_by(c.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [_found(row) for row in connection.execute(query)]


def _in_vain(event: SecurityEvent) -> UUID | None:
    """Read which record a client was told there is none of."""
    if (event.kind, event.reason) != ("refused", "not-found"):
        return None
    found = _RECORD_ID.search(event.target or "")
    return None if found is None else UUID(found[0])


def _owners(connection: Connection, ids: Iterable[UUID]) -> dict[UUID | None, str]:
    query = select(record.c.id, record.c.client_id).where(record.c.id.in_(set(ids)))
    return {row.id: row.client_id for row in connection.execute(query)}


def _stored(at_us: int) -> int:
    """Move a time beyond all that can be stored to where the database can still compare it."""
    return max(-_LAST, min(at_us, _LAST))


def _found(row: Row[Any]) -> FoundEvent:
    values = {each.name: getattr(row, each.name) for each in fields(SecurityEvent)}
    return FoundEvent(id=row.id, event=SecurityEvent(**values))
