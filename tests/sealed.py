"""What a stranger can do to a sealed ledger, and what it looks like to one who believes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest

from db import postgresql, sqlite
from db.notes import Checkpoint, open_checkpoint
from db.records import Appended, Record, commitment, read_leaf
from db.tree import leaf_hash, verify_inclusion
from tests.ledgers import SEAL
from tests.postgres import plain
from tests.vectors.slow import Slow

KEY = SEAL.signer.key()


def sql(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Do what somebody with the password of the database can do."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement, values).fetchall()
    with psycopg.connect(plain(url)) as server:
        cursor = server.execute(statement.replace("?", "%s").encode(), values)
        return cursor.fetchall() if cursor.description else []


def leaves_of(url: str) -> list[bytes]:
    return [bytes(leaf) for (leaf,) in sql(url, "SELECT leaf FROM record ORDER BY idx")]


def check(appended: Appended, records: Sequence[Record]) -> None:
    """Believe receipts as a caller does: by the exact bytes, the pinned key and nothing else."""
    for receipt, record in zip(appended.receipts, records, strict=True):
        text = Checkpoint(origin=SEAL.origin, size=receipt.size, root=receipt.root).text()
        KEY.verify(text, receipt.signature)
        hashed = leaf_hash(receipt.leaf)
        verify_inclusion(hashed, receipt.index, receipt.size, receipt.hashes, receipt.root)
        read = read_leaf(receipt.leaf)
        assert read.id == record.id
        assert read.input == commitment(receipt.salts["input"], "input", record.input)
        assert read.output == commitment(receipt.salts["output"], "output", record.output)
        assert receipt.key_id == f"{KEY.name}+{KEY.id.hex()}"


def check_all(url: str) -> None:
    """Hold head, tiles and notes against the slow tree over the leaves that are stored."""
    leaves = leaves_of(url)
    slow = Slow(leaves)
    ((size, root, origin),) = sql(url, "SELECT size, root, origin FROM head")
    assert (size, bytes(root), origin) == (len(leaves), slow.mth(0, size), SEAL.origin)
    for note_size, text in sql(url, "SELECT size, text FROM note"):
        signed = open_checkpoint(bytes(text), KEY).checkpoint
        assert (signed.size, signed.root) == (note_size, slow.mth(0, note_size))
    tiles = {(level, at): bytes(hashes) for level, at, hashes in sql(url, "SELECT * FROM tile")}
    expected = {(0, at): at for at in range(size // 256)} | ({(1, 0): 0} if size >= 256 else {})
    assert set(tiles) == set(expected)
    for (level, at), hashes in tiles.items():
        width, start = 256**level, at * 256 ** (level + 1)
        stop = min(start + 256 * width, size // width * width)
        nodes = [slow.mth(each, each + width) for each in range(start, stop, width)]
        assert b"".join(nodes) == hashes


def on_commit(monkeypatch: pytest.MonkeyPatch, url: str, then: Callable[[Any], None]) -> None:
    """Do something else at the next COMMIT."""
    driver = sqlite._Pen if url.startswith("sqlite") else postgresql._Bounded

    def commit(connection: Any) -> None:
        monkeypatch.undo()
        then(connection)

    monkeypatch.setattr(driver, "commit", commit, raising=False)


def fail_after(connection: Any) -> None:
    """Commit and lose the answer."""
    connection.commit()
    raise (sqlite3 if isinstance(connection, sqlite3.Connection) else psycopg).OperationalError("lost")


def fail_instead(connection: Any) -> None:
    """Lose the commit itself."""
    connection.rollback()
    raise (sqlite3 if isinstance(connection, sqlite3.Connection) else psycopg).OperationalError("lost")


def open_triggers(url: str) -> None:
    """Take away what keeps accidents out; it was never meant to keep an attacker out."""
    if url.startswith("sqlite"):
        sql(url, "DROP TRIGGER record_forbids_update")
    else:
        sql(url, "ALTER TABLE record DISABLE TRIGGER record_forbids_change")
