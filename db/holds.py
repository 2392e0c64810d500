"""Legal holds: what must not be erased while somebody may still need it as evidence.

A hold is on one record, one reference, one client or one model. The table says how things stand; it is derived from the
records of holds, and verification compares the two. A reference is kept as a hash under a key that is not in the
database: a hold must be able to outlive what it is about. Under another key nothing is erased at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hmac import digest as hmac
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, insert, select, update

from db.engine import reading
from db.tables import hold, prediction

_KEY_ID_BYTES = 8


class HoldNotFound(LookupError):
    """There is no such hold, or it was lifted already."""


class HoldKeyLost(Exception):
    """A reference is held under another key than this ledger's, so nobody can say what must not be erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One hold; exactly one of `record_id`, `reference` (hashed), `client_id`, `model` says what is held."""

    id: UUID
    record_id: UUID | None = None
    reference: bytes | None = None
    client_id: str | None = None
    model: str | None = None
    reason: str
    created_at_us: int
    until_us: int | None = None
    lifted_at_us: int | None = None

    def is_active(self, now_us: int) -> bool:
        """Say whether it still holds: not lifted, and not past its end."""
        return self.lifted_at_us is None and (self.until_us is None or now_us < self.until_us)


def key_of(mac_key: bytes) -> bytes:
    """Derive the key of held references from the one key that every host of a ledger has."""
    return hmac(mac_key, b"hold/v1", "sha256")


def hashed(reference: str, key: bytes) -> bytes:
    """Hash a reference: which key was used, then what only its owner can compute."""
    return _key_id(key) + hmac(key, b"reference" + reference.encode("utf-8", "surrogatepass"), "sha256")


def add(connection: Connection, new: Hold) -> None:
    """Begin a hold."""
    connection.execute(
        insert(hold).values({name: getattr(new, name) for name in hold.c.keys()})  # noqa: SIM118  # a collection, no dict
    )


def lift(connection: Connection, hold_id: UUID, now_us: int) -> None:
    """End a hold. Raises HoldNotFound."""
    ended = update(hold).where(hold.c.id == hold_id, hold.c.lifted_at_us.is_(None))
    if connection.execute(ended.values(lifted_at_us=now_us)).rowcount != 1:
        raise HoldNotFound(f"there is no hold {hold_id} that could be lifted")


def listing(engine: Engine) -> list[Hold]:
    """Return every hold, ended ones too, oldest first."""
    with reading(engine) as connection:
        return [
            _hold(row) for row in connection.execute(select(hold).order_by(hold.c.created_at_us, hold.c.id))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a hold is compared with: one record as lookups know it."""

    idx: int
    id: UUID
    client_id: str
    model: str | None


def blocking(
    connection: Connection, records: Sequence[Held], key: bytes, now_us: int
) -> dict[int, tuple[UUID, ...]]:
    """Name for each record that must not be erased, by its place, the holds on it.

    Raises:
        HoldKeyLost: a reference is held under another key.
    """
    holds = [each for each in map(_hold, connection.execute(select(hold))) if each.is_active(now_us)]
    if not holds:
        return {}
    references = _references(connection, records, holds, key)
    found = {each.idx: tuple(h.id for h in holds if _is_on(h, each, references)) for each in records}
    return {idx: ids for idx, ids in found.items() if ids}


def _is_on(held: Hold, each: Held, references: Mapping[int, frozenset[bytes]]) -> bool:
    return (
        held.record_id == each.id
        or (held.client_id is not None and held.client_id == each.client_id)
        or (held.model is not None and held.model == each.model)
        or (held.reference is not None and held.reference in references.get(each.idx, ()))
    )


def _references(
    connection: Connection, records: Iterable[Held], holds: Iterable[Hold], key: bytes
) -> dict[int, frozenset[bytes]]:
    """Hash the references of these records, where any hold asks for one."""
    held = [each.reference for each in holds if each.reference is not None]
    if not held:
        return {}
    if any(not each.startswith(_key_id(key)) for each in held):
        raise HoldKeyLost(
            "a reference is held under another key than this ledger's mac.key: lift that hold and hold it anew"
        )
    c = prediction.c
    query = select(c.idx, c.reference).where(
        c.idx.in_([each.idx for each in records]), c.reference.is_not(None)
    )
    found: dict[int, set[bytes]] = {}
    for idx, reference in connection.execute(query):
        found.setdefault(idx, set()).add(hashed(reference, key))
    return {idx: frozenset(hashes) for idx, hashes in found.items()}


def _key_id(key: bytes) -> bytes:
    return hmac(key, b"id", "sha256")[:_KEY_ID_BYTES]


def _hold(row: Row[Any]) -> Hold:
    return Hold(**dict(row._mapping))
