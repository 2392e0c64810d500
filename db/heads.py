"""The one row of `head`: who holds its lock numbers the records, and nobody else does until the transaction ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from sqlalchemy import Connection, Engine, bindparam, func, insert, select, update

from db.driver import Prepared
from db.engine import reading
from db.records import Record
from db.sealing import Head, LedgerForked, Seal
from db.tables import head, note, record
from db.tree import Frontier

_MOVED = ("size", "latest_us", "lag_us", "root", "frontier", "mac")
_NAMES = tuple(each.name for each in fields(Head))
_HEAD = select(*(head.c[name] for name in _NAMES)).where(head.c.id == 1)
_LOCKED = Prepared(_HEAD.with_for_update())
_ADVANCE = Prepared(
    update(head)
    .where(head.c.id == 1, head.c.size == bindparam("before"), head.c.mac == bindparam("mac_before"))
    .values({name: bindparam(f"new_{name}") for name in _MOVED})
)


def lock(connection: Connection) -> Head:
    """Read the head and let nobody else number records until this transaction ends."""
    return Head(**dict(zip(_NAMES, _LOCKED.run(connection).fetchone(), strict=True)))


def look(connection: Connection) -> Head:
    """Read the head as it was committed last."""
    return Head(**connection.execute(_HEAD).mappings().one())


def advance(
    connection: Connection, before: Head, seal: Seal, after: Frontier, records: Iterable[Record]
) -> Head | None:
    """Move the head behind these records and return it; None when it is no longer the one that was locked."""
    latest, lag = before.latest_us, before.lag_us
    for each in records:
        latest = max(latest, each.observed_at_us)
        lag = max(lag, latest - each.observed_at_us)
    moved = replace(
        before,
        size=after.size,
        latest_us=latest,
        lag_us=lag,
        root=after.root(),
        frontier=after.to_bytes(),
        mac=seal.mac(after, before.epoch),
    )
    new = {f"new_{name}": getattr(moved, name) for name in _MOVED}
    done = _ADVANCE.run(connection, before=before.size, mac_before=before.mac, **new)
    return moved if done.rowcount == 1 else None


def begin(connection: Connection, seal: Seal) -> None:
    """Seal the head for the epoch of this seal, in the transaction of the record that begins it."""
    frontier = Frontier.from_bytes(look(connection).frontier)
    sealed = {"epoch": seal.epoch, "mac": seal.mac(frontier, seal.epoch)}
    connection.execute(update(head).where(head.c.id == 1).values(sealed))


def put_note(connection: Connection, size: int, text: bytes) -> None:
    """Keep a signed checkpoint; another host that signed the same head wrote the same bytes."""
    if connection.scalar(select(note.c.text).where(note.c.size == size)) is None:
        connection.execute(insert(note).values(size=size, text=text))


def read(engine: Engine) -> Head:
    """Read the head as a reader sees it; its origin is empty until it is sealed.

    Raises:
        StorageUnavailable: the database failed.
    """
    with reading(engine) as connection:
        return look(connection)


def seal_unsealed(engine: Engine, seal: Seal) -> None:
    """Seal the head that a migration left, and sign it; whoever calls this holds the pen.

    What stands in a database before its first seal is vouched for by nobody: from here on it cannot change.

    Raises:
        LedgerForked: it is sealed already, or contradicts the records.
    """
    with engine.connect() as connection, connection.begin():
        found = lock(connection)
        if found.mac or found.origin:
            raise LedgerForked("the head is sealed already; a seal is never replaced")
        frontier = Frontier.from_bytes(found.frontier)
        stored = connection.scalar(select(func.count()).select_from(record))
        if {found.size, frontier.size} != {stored} or frontier.root() != found.root:
            raise LedgerForked(
                "the unsealed head is not that of the records; restore a backup and migrate it"
            )
        sealed = {"origin": seal.origin, "mac": seal.mac(frontier, found.epoch)}
        connection.execute(update(head).where(head.c.id == 1).values(sealed))
    with engine.connect() as connection, connection.begin():  # signed after the commit, as every head is
        put_note(connection, found.size, seal.note(found.size, found.root))
