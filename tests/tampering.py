"""A ledger to tamper with: made by the real writer, copied for every test, edited past everything that forbids it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db import holds
from db.audit import How, audit
from db.auditing import Anchor, Verdict
from db.engine import open_pen, open_reader
from db.ledger import Ledger
from db.notes import COSIGNATURE, Checkpoint, Signer, VerifierKey, cosign, sign
from db.records import Record
from db.tree import Frontier, Growth, leaf_hash
from tests import changing
from tests.blocking import make_blocks
from tests.changing import GONE, erasing, recorded_changes
from tests.ledgers import NOON_US, SEAL, fresh, happened, keyed, predicted, replayed
from tests.postgres import name_of, plain

KEY: VerifierKey = SEAL.signer.key()
WITNESS = Signer(
    name="onrecord.test/witness", private=Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
)
NOTED = 12  # after each of the first records there is a note: a changed one among them is named exactly
MADE_FROM = 4  # records that were made from others
LET_GO = len(GONE) + 1  # the last records but one: the above, and the first hold is lifted
SIZE = 300  # one full tile of leaves, and the next level begun


@dataclass(frozen=True)
class Rigged:
    """One copy of the ledger, and what an auditor holds who does not trust it."""

    url: str
    anchors: tuple[bytes, ...]

    @property
    def kind(self) -> str:
        """Name the kind of database."""
        return self.url.partition(":")[0].partition("+")[0]

    def audit(
        self, *, anchored: bool = True, mac_key: bytes | None = SEAL.mac_key, how: How | None = None
    ) -> Verdict:
        """Audit with the pinned key, and with or without what was kept outside."""
        kept = [Anchor(source="outside", note=note) for note in self.anchors] if anchored else []
        seen = [WITNESS.key(COSIGNATURE)] if anchored else []
        reader = open_reader(self.url)
        try:
            return audit(reader, KEY, kept, witnesses=seen, mac_key=mac_key, how=how)
        finally:
            reader.dispose()

    def run(self, *statements: str | tuple[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Run statements as the database's owner, without triggers and constraints; return the last one's rows."""
        rows: list[tuple[Any, ...]] = []
        pairs = [(each, ()) if isinstance(each, str) else each for each in statements]
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as file:
                for event in ("update", "delete"):
                    file.execute(f"DROP TRIGGER IF EXISTS record_forbids_{event}")
                for statement, values in pairs:
                    rows = file.execute(statement, values).fetchall()
            return rows
        with psycopg.connect(plain(self.url), autocommit=True) as server:
            server.execute("SET session_replication_role = replica")
            for statement, values in pairs:
                cursor = server.execute(statement.replace("?", "%s").encode(), values)
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def grow(self, count: int) -> Rigged:
        """Append through the real writer, and keep its checkpoint."""
        notes: list[bytes] = []
        pen = open_pen(self.url)
        try:
            ledger = Ledger(pen, SEAL, anchor=notes.append)
            ledger.append([answered(f"later-{number}") for number in range(count)])
            ledger.note()
        finally:
            pen.dispose()
        return Rigged(self.url, (*self.anchors, *notes))

    def erase(self, *references: str) -> Rigged:
        """Erase the records of these references through the real writer, and keep its checkpoint."""
        notes: list[bytes] = []
        pen, reader = open_pen(self.url), open_reader(self.url)
        try:
            ledger = Ledger(pen, SEAL, anchor=notes.append)
            for at_us, each in enumerate(references, NOON_US + 100):
                changing.change(ledger, reader, "erasure.add", erasing(reference=each), at_us)
            ledger.note()
        finally:
            reader.dispose()
            pen.dispose()
        return Rigged(self.url, (*self.anchors, *notes))

    def value(self, query: str) -> Any:
        """Read one value."""
        return self.run(query)[0][0]

    def columns(self) -> dict[tuple[str, str], str]:
        """Name every column of every table with its type, as the database itself lists them."""
        query = (
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c"
            " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
        )
        if self.kind != "sqlite":
            query = (
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'public'"
            )
        return {(table, column): declared for table, column, declared in sorted(self.run(query))}

    def row(self, table: str) -> dict[str, Any]:
        """Read one row from the middle of a table."""
        names = [column for other, column in self.columns() if other == table]
        middle = self.value(f"SELECT count(*) FROM {table}") // 2
        rows = self.run(f"SELECT {', '.join(names)} FROM {table} LIMIT 1 OFFSET {middle}")
        return dict(zip(names, rows[0], strict=True))

    def change(self, table: str, row: Mapping[str, Any], column: str, value: Any) -> None:
        """Change one column of the row that has all these values."""
        known = {name: have for name, have in row.items() if have is not None}
        where = " AND ".join(f"{name} = ?" for name in known)
        self.run((f"UPDATE {table} SET {column} = ? WHERE {where}", [value, *known.values()]))

    def root(self, size: int) -> bytes:
        """Compute the root of the first records."""
        return self._grown(size).after.root()

    def regrow(self) -> None:
        """Compute tiles and head anew from the leaves, as somebody without the key can."""
        growth = self._grown(SIZE)
        for span, hashes in growth.tiles():
            self.run(
                ("UPDATE tile SET hashes = ? WHERE level = ? AND idx = ?", [hashes, span.level, span.index])
            )
        self.run(("UPDATE head SET root = ?, frontier = ?", [growth.after.root(), growth.after.to_bytes()]))

    def _grown(self, size: int) -> Growth:
        leaves = self.run(f"SELECT leaf FROM record WHERE idx < {size} ORDER BY idx")
        return Frontier().append([leaf_hash(leaf) for (leaf,) in leaves])


def signed_by_another(name: str, size: int, root: bytes) -> bytes:
    """Make a note of the right content with a key that nobody has pinned."""
    stranger = Signer(name=name, private=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return sign(Checkpoint(origin=name, size=size, root=root).text(), stranger)


class Copies:
    """Makes the ledger once for each kind of database and hands out copies."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request, self._folder = request, folder
        self._made: dict[str, Rigged] = {}
        self._count = 0

    def new(self, kind: str) -> Rigged:
        """Copy the ledger of this kind."""
        if kind not in self._made:
            self._made[kind] = _make(fresh(kind, self._request, self._folder))
        return Rigged(self._copied(self._made[kind].url), self._made[kind].anchors)

    def copy(self, rigged: Rigged) -> Rigged:
        """Copy one that was changed already."""
        return Rigged(self._copied(rigged.url), rigged.anchors)

    def _copied(self, url: str) -> str:
        if not url.startswith("sqlite"):
            return str(self._request.getfixturevalue("postgres").new_database(name_of(url)))
        self._count += 1
        file = self._folder / f"copy-{self._count}.db"
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source:
            source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(url.removeprefix("sqlite:///"), file)
        return f"sqlite:///{file}"


def answered(reference: str) -> Record:
    """Make a record of two instances, one with a reference."""
    return predicted((reference, "<=50K", 0.25), (None, ">50K", 0.75))


def made_from(original: Record, place: int) -> list[Record]:
    """Make outcomes of both instances, the second of them corrected, and a replay."""
    return [
        happened(original, place, "<=50K"),
        happened(original, place, 7.5, position=1, seen_us=NOON_US - 60_000_000),
        happened(original, place, ">50K", position=1),
        replayed(original, place),
    ]


def _make(url: str) -> Rigged:
    """Write changes and predictions: notes after each of the first records, the rest in groups."""
    notes: list[bytes] = []
    pen = open_pen(url)
    try:
        ledger = Ledger(pen, SEAL, anchor=notes.append)
        for record, apply in recorded_changes():
            ledger.change(record, apply)
            ledger.note()
        for number in range(NOTED - len(recorded_changes())):
            ledger.append([answered(f"r-{number}")])
            ledger.note()
        ledger.cosigned(NOTED, cosign(notes[-1], WITNESS, NOON_US // 1_000_000), WITNESS.key(COSIGNATURE))
        end = SIZE - LET_GO - 2 - MADE_FROM
        for start in range(NOTED, end, 48):
            stop = min(start + 48, end)
            ledger.append([answered(f"r-{number}") for number in range(start, stop)])
            ledger.note()
        original = answered("r-original")
        (place,) = ledger.append([original]).places
        ledger.append(made_from(original, place))
        _let_go(ledger, url)
        ledger.append([keyed(answered("r-last"))])
        ledger.note()
        make_blocks(ledger, url)
    finally:
        pen.dispose()
    return Rigged(url, tuple(notes[-1:]))


def _let_go(ledger: Ledger, url: str) -> None:
    """Hold something, lift a hold, and erase what GONE says."""
    reader = open_reader(url)
    try:
        for at_us, (name, args) in enumerate(GONE, NOON_US + 10):
            done = changing.change(ledger, reader, name, args, at_us)
            assert done.record is not None
        (hold, *_) = holds.listing(reader)
        changing.change(ledger, reader, "hold.lift", {"hold": str(hold.id), "reason": "over"}, NOON_US + 20)
    finally:
        reader.dispose()


def another(value: Any, declared: str) -> Any:
    """Make a different value that this column could hold."""
    match value:
        case bytes() if value:
            return bytes([value[0] ^ 1]) + value[1:]
        case UUID():
            return UUID(int=value.int ^ 1)
        case str():
            return value + "x"
        case int() | float():
            return value + 1000
    return {"blob": bytes(31) + b"\1", "bytea": bytes(31) + b"\1", "text": "x", "uuid": UUID(int=7)}.get(
        declared.lower(), 7
    )
