"""The tests' auditor can fail: it sees every column that someone changed, and every row that is gone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import auditor
from tests.ledgers import changed, fresh, happened, predicted, replayed, writing

CHANGES = {
    "head": {
        "size": "size + 1",
        "latest_us": "0",
        "lag_us": "7",
        "root": "randomblob(32)",
        "frontier": "randomblob(40)",
        "mac": "x''",
        "origin": "'onrecord.test/other'",
        "epoch": "1",
    },
    "record": {
        "idx": "999",
        "id": "randomblob(16)",
        "kind": "2",
        "observed_at_us": "1",
        "client_id": "'someone'",
        "model": "'iris'",
        "version": "'2'",
        "digest": "randomblob(32)",
        "status": "422",
        "leaf": "randomblob(220)",
    },
    "payload": {
        "record_id": "randomblob(16)",
        "input": """'{"instances": [{"reference": "r-2"}]}'""",
        "output": "replace(output, '0.25', '0.26')",
        "actor": """'{"client_id": "someone"}'""",
        "meta": "replace(meta, '00', '01')",
        "secret": "randomblob(32)",
    },
    "prediction": {
        "idx": "9",
        "position": "1",
        "client_id": "'someone'",
        "model": "'iris'",
        "version": "'2'",
        "reference": "'r-2'",
        "label": "'>50K'",
        "score": "0.26",
        "observed_at_us": "1",
        "outcome_idx": "NULL",
    },
    "derived": {"idx": "7", "of_idx": "7", "position": "1"},
    "outcome": {
        "prediction_idx": "7",
        "position": "1",
        "outcome_idx": "7",
        "value": "'>50K'",
        "number": "1",
        "observed_at_us": "1",
        "reported_at_us": "1",
    },
    "note": {"size": "size + 1", "text": "replace(text, char(10), '0' || char(10))"},
    "tile": {"level": "7", "idx": "7", "hashes": "randomblob(8192)"},
}
NOT_DERIVED = {"head.id"}  # a constant


@pytest.fixture(scope="module")
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a good ledger with a full tile and a note."""
    folder = tmp_path_factory.mktemp("good")
    url = fresh("sqlite", request, folder)
    with writing(url) as ledger:
        original = predicted(("r-1", "<=50K", 0.25))
        ledger.append([original, *(changed() for _ in range(255))])
        ledger.append([happened(original, 0, ">50K"), happened(original, 0, "<=50K"), replayed(original, 0)])
        ledger.note()
    assert auditor.audit(url) == []
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "ledger.db"


@pytest.fixture
def file(good: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Copy it, so that anyone can write to it."""
    shutil.copyfile(good, tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER record_forbids_update")
        connection.execute("DROP TRIGGER record_forbids_delete")
        yield connection


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, columns in CHANGES.items() for column in columns]
)
def test_every_changed_column_is_found(
    file: sqlite3.Connection, tmp_path: Path, table: str, column: str
) -> None:
    """Whatever is changed in the first row of a table of the ledger, the audit finds it."""
    key = {
        "record": "idx",
        "derived": "idx",
        "outcome": "prediction_idx",
        "prediction": "idx",
        "payload": "rowid",
        "head": "id",
        "note": "size",
        "tile": "level",
    }[table]
    changed = f"UPDATE {table} SET {column} = {CHANGES[table][column]}"
    file.execute(f"{changed} WHERE {key} = (SELECT min({key}) FROM {table})")

    assert auditor.audit(f"sqlite:///{tmp_path}/ledger.db") != []


def test_no_column_was_forgotten(file: sqlite3.Connection) -> None:
    """The list above has every column of the ledger's tables, as the database itself names them."""
    named = {f"{table}.{row[1]}" for table in CHANGES for row in file.execute(f"PRAGMA table_info({table})")}

    assert {f"{table}.{column}" for table in CHANGES for column in CHANGES[table]} | NOT_DERIVED == named


@pytest.mark.parametrize("table", [table for table in CHANGES if table != "note"])
def test_every_missing_row_is_found(file: sqlite3.Connection, tmp_path: Path, table: str) -> None:
    """A table that was emptied does not pass for one that never had anything in it.

    Only notes may be missing: a crash takes the last one, and the receipts of callers say the same.
    """
    file.execute(f"DELETE FROM {table}")

    assert auditor.audit(f"sqlite:///{tmp_path}/ledger.db") != []


def test_an_answer_without_its_record_is_found(file: sqlite3.Connection, tmp_path: Path) -> None:
    """What a caller holds is compared byte for byte with what is stored."""
    record, other = predicted(), predicted()
    url = f"sqlite:///{tmp_path}/ledger.db"
    with writing(url) as ledger:
        ledger.append([record])

    assert auditor.audit(url, {str(record.id): record.output}) == []
    assert auditor.audit(url, {str(record.id): record.output + b" "}) == [
        auditor.Finding(f"record {record.id}", "was answered with other bytes than are stored")
    ]
    assert auditor.audit(url, {str(other.id): other.output}) == [
        auditor.Finding(f"record {other.id}", "was answered, and is stored 0 times")
    ]
