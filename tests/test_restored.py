"""A restored backup does not bring back what was erased since (E11)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from api.commands import submitting
from api.engine.journal import ErasuresUndone, journal_of
from api.engine.opening import opened
from api.settings import Settings
from db.engine import open_reader
from db.lookups import Lookups
from db.records import Record
from tests import auditor
from tests.changing import erasing
from tests.ledgers import predicted

pytest_plugins = ("tests.deployments",)


@pytest.fixture
def restored(settings: Settings) -> Callable[[], tuple[Record, Record]]:
    """Record, back up, erase one of two records, restore: the anchor goes back with the database, the journal stays."""

    def restore() -> tuple[Record, Record]:
        gone, kept = predicted(("s-1", ">50K", 0.5)), predicted(("s-2", ">50K", 0.5))
        with opened(settings) as ledger:
            ledger.append([gone, kept])
            ledger.note()
        files = [Path(settings.database_url.removeprefix("sqlite:///")), settings.anchor]
        for file in files:
            shutil.copyfile(file, f"{file}.backup")
        submitting.submit(settings, "erasure.add", erasing(reference="s-1"))
        for file in files:
            shutil.copyfile(f"{file}.backup", file)
        return gone, kept

    return restore


def has(settings: Settings, record: Record) -> bool:
    """Say whether a record has what went in."""
    reader = open_reader(settings.database_url)
    try:
        return Lookups(reader).record(record.id).input is not None
    finally:
        reader.dispose()


def test_a_restored_backup_is_not_opened(
    settings: Settings, restored: Callable[[], tuple[Record, Record]]
) -> None:
    """E11: what was erased is there again, so nobody may write or serve, and the cure is named."""
    restored()

    with pytest.raises(ErasuresUndone, match=r"1 erasures.*erase --reapply"), opened(settings):
        pass


def test_what_was_erased_is_erased_again(
    settings: Settings, restored: Callable[[], tuple[Record, Record]]
) -> None:
    """E11: --reapply erases it again, on its old ground and on record, and nothing else; then all goes on."""
    gone, kept = restored()
    assert has(settings, gone)

    (line,) = submitting.reapply(settings)

    assert "1 records again" in line
    assert (has(settings, gone), has(settings, kept)) == (False, True)
    assert list(submitting.reapply(settings)) == []
    with opened(settings) as ledger:
        ledger.append([predicted()])
    reader = open_reader(settings.database_url)
    (erased,) = Lookups(reader).record(gone.id).erasures
    reader.dispose()
    assert erased.ground == "data-subject-request"
    assert auditor.audit(settings.database_url) == []


def test_the_journal_knows_nobody(settings: Settings, restored: Callable[[], tuple[Record, Record]]) -> None:
    """The file outside holds ids of records and a ground, neither reference nor value."""
    gone, _ = restored()
    (journaled,) = journal_of(settings).read()

    assert list(journaled.fields) == [gone.id]
    content = journal_of(settings).path.read_bytes()
    assert not [each for each in (b"s-1", b">50K", b"demo-a", b"0.5") if each in content]


def test_a_torn_line_is_written_again(settings: Settings) -> None:
    """A crash in the middle of a line costs nothing: the next start writes what is missing."""
    record = predicted(("s-1", ">50K", 0.5))
    with opened(settings) as ledger:
        ledger.append([record])
    submitting.submit(settings, "erasure.add", erasing(reference="s-1"))
    path = journal_of(settings).path
    path.write_bytes(path.read_bytes()[:-20])
    assert list(journal_of(settings).read()) == []

    with opened(settings):
        pass

    (journaled,) = journal_of(settings).read()
    assert list(journaled.fields) == [record.id]
