"""A head that is not the one the ledger left, and leaves that are not those it hashed: nothing more is appended."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db import heads, rows
from db.engine import open_pen
from db.ledger import Ledger, LedgerUnavailable
from db.records import Record
from db.sealing import LedgerForked
from tests.backups import Backups
from tests.ledgers import DATABASES, SEAL, fresh, predicted, writing
from tests.sealed import check_all, leaves_of, open_triggers, sql


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty sealed ledger."""
    return fresh(request.param, request, tmp_path)


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty sealed ledger in a file."""
    return fresh("sqlite", request, tmp_path)


class TestForks:
    def test_a_head_with_another_mac_stops_the_ledger(self, url: str) -> None:
        """Whoever moves the head without the key is found at the next append, and nothing more is written (M3)."""
        with writing(url) as ledger:
            ledger.append([predicted()])
            sql(url, "UPDATE head SET mac = ?", bytes(32))
            for _ in range(2):
                with pytest.raises(LedgerForked, match="not written with the key"):
                    ledger.append([predicted()])
        assert len(leaves_of(url)) == 1

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("size", 2),
            ("root", bytes(32)),
            ("frontier", bytes(8)),
            ("frontier", b"x"),
            ("epoch", 1),
            ("origin", "x"),
        ],
    )
    def test_every_part_of_the_head_is_covered(self, url: str, column: str, value: object) -> None:
        """No column that the tree grows from can be changed by hand."""
        with writing(url) as ledger:
            ledger.append([predicted()])
        sql(url, f"UPDATE head SET {column} = ?", value)

        with writing(url) as ledger, pytest.raises(LedgerForked):
            ledger.check()
        with writing(url) as ledger, pytest.raises(LedgerForked):
            ledger.append([predicted()])

    def test_a_ledger_rolled_back_under_a_running_process_is_noticed(self, url: str) -> None:
        """An older head with its good mac is still older than what this process made durable (M4)."""
        with writing(url) as ledger:
            ledger.append([predicted()])
            older = sql(url, "SELECT size, latest_us, lag_us, root, frontier, mac FROM head")[0]
            ledger.append([predicted()])
            names = "size = ?, latest_us = ?, lag_us = ?, root = ?, frontier = ?, mac = ?"
            sql(url, f"UPDATE head SET {names}", *older)
            for _ in range(2):
                with pytest.raises(LedgerForked, match="went backwards: 2 records"):
                    ledger.append([predicted()])
            assert not ledger.note()

    def test_a_file_replaced_by_its_backup_is_noticed(self, file: str, tmp_path: Path) -> None:
        """Restoring a copy of the database while the engine runs stops it at the next append."""
        name = Path(file.removeprefix("sqlite:///"))
        with writing(file) as ledger:
            ledger.append([predicted()])
        shutil.copy(name, tmp_path / "backup.db")
        with writing(file) as ledger:
            ledger.append([predicted()])
            ledger._engine.dispose()
            for suffix in ("-wal", "-shm"):
                Path(f"{name}{suffix}").unlink(missing_ok=True)
            shutil.copy(tmp_path / "backup.db", name)

            with pytest.raises(LedgerForked, match="went backwards"):
                ledger.append([predicted()])

    def test_another_history_of_the_same_size_is_noticed(self, file: str, tmp_path: Path) -> None:
        """A backup that others grew to the size this process knows has another root."""
        name = Path(file.removeprefix("sqlite:///"))
        backup = tmp_path / "backup.db"
        shutil.copy(name, backup)
        with writing(file) as ledger:
            ledger.append([predicted()])
            ledger._engine.dispose()
            with writing(f"sqlite:///{backup}") as other:
                other.append([predicted()])
            shutil.copy(backup, name)

            with pytest.raises(LedgerForked, match="another history of the same 1"):
                ledger.append([predicted()])

    @pytest.mark.parametrize(("kept", "known"), [(0, 3), (2, 3), (90, 100), (256, 300)])
    def test_a_rollback_that_grew_again_is_noticed_by_the_next_append(
        self, url: str, backups: Backups, kept: int, known: int
    ) -> None:
        """T10b: where others overtook what this process knows, no proof leads from one to the other."""
        with writing(url) as ledger:
            if kept:
                ledger.append([predicted() for _ in range(kept)])
            ledger.note()
            ledger._engine.dispose()
            backup = backups.take(url)
            ledger.append([predicted() for _ in range(known - kept)])
            ledger._engine.dispose()
            backups.restore(backup, url)
            with writing(url) as other:
                other.append([predicted() for _ in range(known - kept + 10)])

            for _ in range(2):
                with pytest.raises(LedgerForked, match=f"did not grow from {known} records"):
                    ledger.append([predicted()])
            assert not ledger.note()
        assert len(leaves_of(url)) == known + 10

    def test_another_host_that_writes_meanwhile_is_no_fork(self, url: str) -> None:
        """What others have appended to the same history is grown upon."""
        with writing(url) as ledger:
            ledger.append([predicted() for _ in range(3)])
            ledger._engine.dispose()
            with writing(url) as other:
                other.append([predicted() for _ in range(300)])

            assert ledger.append([predicted()]).places == [303]
            assert ledger.note()
        check_all(url)

    def test_a_head_without_seal_is_not_written_to(self, url: str) -> None:
        """Only setup and migrate accept an unsealed head; a seal is never replaced."""
        engine = open_pen(url)
        with pytest.raises(LedgerForked, match="sealed already"):
            heads.seal_unsealed(engine, SEAL)
        engine.dispose()
        sql(url, "UPDATE head SET mac = ?, origin = ''", b"")
        with writing(url) as ledger, pytest.raises(LedgerForked, match="python -m api setup"):
            ledger.append([predicted()])

    def test_an_unsealed_head_must_fit_the_records(self, url: str) -> None:
        """Emptying the seal does not make setup accept a shorter ledger."""
        with writing(url) as ledger:
            ledger.append([predicted()])
        sql(url, "UPDATE head SET mac = ?, origin = '', size = 0, frontier = ?", b"", bytes(8))
        engine = open_pen(url)
        with pytest.raises(LedgerForked, match="not that of the records"):
            heads.seal_unsealed(engine, SEAL)
        engine.dispose()

    def test_keys_of_another_ledger_are_refused(self, url: str) -> None:
        """The mac is made with this ledger's key, or it is not believed."""
        engine = open_pen(url)
        with pytest.raises(LedgerForked, match="not written with the key"):
            Ledger(engine, replace(SEAL, mac_key=bytes(32))).append([predicted()])
        engine.dispose()


class TestLeaves:
    def test_leaves_that_change_before_they_are_written_are_not_committed(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is bound to the INSERT is hashed again: a bit that flips in memory never becomes a record."""
        honest = rows._record_row

        def flip(place: int, raw_id: object, record: Record, leaf: bytes) -> tuple[Any, ...]:
            return honest(place, raw_id, record, leaf[:-1] + bytes([leaf[-1] ^ 1]))

        with writing(url) as ledger:
            with monkeypatch.context() as flipping:
                flipping.setattr(rows, "_record_row", flip)
                with pytest.raises(LedgerUnavailable, match="leaves changed"):
                    ledger.append([predicted()])
            assert ledger.append([predicted()]).places == [0]
        check_all(url)

    def test_a_leaf_edited_below_a_tile_is_noticed_when_the_tile_is_full(self, url: str) -> None:
        """The ledger does not store a tile over leaves that are not those it hashed."""
        with writing(url) as ledger:
            ledger.append([predicted() for _ in range(200)])
            open_triggers(url)
            sql(url, "UPDATE record SET leaf = ? WHERE idx = 7", bytes(220))

            with pytest.raises(LedgerForked, match="was changed"):
                ledger.append([predicted() for _ in range(100)])
        assert len(leaves_of(url)) == 200

    def test_a_stored_record_that_was_edited_is_not_proven(self, url: str) -> None:
        """A repeated append of a record whose neighbour was changed gives no receipt."""
        record = predicted()
        with writing(url) as ledger:
            ledger.append([record, predicted()])
            open_triggers(url)
            sql(url, "UPDATE record SET leaf = ? WHERE idx = 1", bytes(220))

            with pytest.raises(LedgerForked, match="does not lead to the head"):
                ledger.append([record])
