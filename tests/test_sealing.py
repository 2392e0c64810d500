"""The tree under the ledger: receipts of every append, signed after the commit, and notes of what was signed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from db import heads, sealing
from db.engine import open_pen, open_reader
from db.ledger import Ledger, LedgerUnavailable
from db.notes import open_checkpoint
from tests import auditor
from tests.ledgers import DATABASES, SEAL, changed, fresh, predicted, writing
from tests.postgres import Postgres
from tests.sealed import KEY, check, check_all, fail_after, fail_instead, leaves_of, on_commit, sql
from tests.vectors.slow import Slow


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty sealed ledger."""
    return fresh(request.param, request, tmp_path)


class TestReceipts:
    def test_every_group_is_proven_whatever_its_size(self, url: str) -> None:
        """Groups of all sizes, across the borders of tiles: receipts hold, and the slow tree agrees."""
        with writing(url) as ledger:
            for size in (1, 1, 2, 3, 5, 64, 100, 79, 1, 1, 300, 7, 256, 33):
                group = [predicted() for _ in range(size)]
                check(ledger.append(group), group)
            ledger.note()

        check_all(url)
        assert auditor.audit(url) == []

    def test_a_change_has_a_receipt_too(self, url: str) -> None:
        """What an operator did is in the tree like everything else."""
        record = changed()
        with writing(url) as ledger:
            check(ledger.change(record, lambda _: None), [record])
        check_all(url)

    def test_a_record_appended_again_is_proven_under_the_newer_head(self, url: str) -> None:
        """A repeated append gives a receipt from stored tiles, of the same leaf."""
        group = [predicted() for _ in range(3)]
        with writing(url) as ledger:
            first = ledger.append(group)
            ledger.append([predicted() for _ in range(600)])
            again = ledger.append(group)

        check(again, group)
        assert [each.leaf for each in again.receipts] == [each.leaf for each in first.receipts]
        assert {each.size for each in again.receipts} == {603}

    def test_two_hosts_grow_one_tree(self, postgres: Postgres) -> None:
        """Writers that interleave on PostgreSQL give receipts that all lead to one history."""
        url = postgres.new_ledger()
        receipts: list[tuple[int, bytes]] = []

        def append() -> None:
            with writing(url) as ledger:
                for size in range(1, 35):
                    group = [predicted() for _ in range(size)]
                    appended = ledger.append(group)
                    check(appended, group)
                    receipts.append((appended.receipts[0].size, appended.receipts[0].root))
                    ledger.note()

        threads = [threading.Thread(target=append) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        slow = Slow(leaves_of(url))
        assert len(receipts) == 68
        assert all(root == slow.mth(0, size) for size, root in receipts)
        check_all(url)

    def test_an_unknown_outcome_is_proven_when_it_is_found(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A commit whose answer was lost gives the same receipts as one that was heard."""
        group = [predicted() for _ in range(3)]
        with writing(url) as ledger:
            ledger.append([predicted() for _ in range(300)])
            on_commit(monkeypatch, url, then=fail_after)
            check(ledger.append(group), group)
        check_all(url)


class TestSigning:
    def test_nothing_is_signed_before_its_commit(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """When COMMIT is sent no signature exists; a group that is not committed is never signed (M2)."""
        signed: list[int] = []
        honest = sealing.Seal.signature

        def spy(seal: sealing.Seal, size: int, root: bytes) -> bytes:
            signed.append(size)
            return honest(seal, size, root)

        def look(connection: Any) -> None:
            assert signed == []
            connection.commit()

        with monkeypatch.context() as spying, writing(url) as ledger:
            spying.setattr(sealing.Seal, "signature", spy)
            on_commit(pytest.MonkeyPatch(), url, look)
            ledger.append([predicted()])
            assert signed == [1]
            on_commit(pytest.MonkeyPatch(), url, fail_instead)
            with pytest.raises(LedgerUnavailable):
                ledger.append([predicted()])
            assert signed in ([1], [1, 1])  # the settled head may be signed again; the lost one never is

    def test_notes_are_written_once_and_anchored(self, url: str) -> None:
        """A note is the signed head; nothing new means no note; the anchor gets what the database has."""
        anchored: list[bytes] = []
        engine = open_pen(url)
        ledger = Ledger(engine, SEAL, anchor=anchored.append)
        assert not ledger.note()
        ledger.append([predicted()])
        assert (ledger.note(), ledger.note()) == (True, False)
        ledger.append([predicted(), predicted()])
        assert ledger.note()
        engine.dispose()

        assert [open_checkpoint(each, KEY).checkpoint.size for each in anchored] == [1, 3]
        notes = [bytes(text) for (text,) in sql(url, "SELECT text FROM note WHERE size > 0 ORDER BY size")]
        assert notes == anchored
        check_all(url)

    def test_an_anchor_that_fails_is_made_up_for(self, url: str) -> None:
        """The note stays due until it is anchored."""
        anchored: list[bytes] = []

        def anchor(note: bytes) -> None:
            anchored.append(note)
            if len(anchored) == 1:
                raise OSError("the other disk is full")

        engine = open_pen(url)
        ledger = Ledger(engine, SEAL, anchor=anchor)
        ledger.append([predicted()])
        with pytest.raises(OSError, match="other disk"):
            ledger.note()
        assert ledger.note()
        engine.dispose()
        assert len(anchored) == 2


def test_the_first_seal_is_signed(url: str) -> None:
    """A ledger without records has a checkpoint already: of nothing."""
    reader = open_reader(url)
    assert heads.read(reader).origin == SEAL.origin
    reader.dispose()
    ((size, text),) = sql(url, "SELECT size, text FROM note")
    assert (size, open_checkpoint(bytes(text), KEY).checkpoint.size) == (0, 0)
