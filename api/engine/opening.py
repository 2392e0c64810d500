"""The ledger of a deployment, opened for whoever holds the pen: its database, its keys, its anchor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.anchoring import anchor_of
from api.engine import seals
from api.engine.journal import Journal, journal_of
from api.settings import Settings
from db import heads
from db.engine import StorageUnavailable, open_pen
from db.ledger import Ledger, LedgerUnavailable


@contextmanager
def opened(settings: Settings, *, restoring: bool = False) -> Iterator[Ledger]:
    """Open the ledger and look at its head before anything is appended; closes the database at the end.

    Raises:
        KeyRefused, StorageRefused, StorageUnavailable: it cannot be opened.
        LedgerForked: the stored head is not one these keys sealed.
        AnchorRefused: it is older than what was anchored, or another one.
        ErasuresUndone: it was restored, and has what was erased since; not while `restoring` it.
    """
    seal, anchor, journal = seals.read(settings.var), anchor_of(settings), journal_of(settings)
    writer = open_pen(settings.database_url)
    try:
        # Which epoch it is in is for the head to say: its mac covers that, and is looked at next.
        seal = seal.begun(heads.read(writer).epoch)
        ledger = Ledger(writer, seal, anchor=anchor.append)
        _check(ledger)
        anchor.check(writer, seal.signer.key(), seal.epoch)
        if not restoring:
            journal.check(writer)
            _keep(journal, writer)
        yield ledger
    finally:
        writer.dispose()


def _keep(journal: Journal, reader: Any) -> None:
    try:
        journal.keep(reader)
    except OSError as failed:
        raise StorageUnavailable(f"{journal.path} cannot be written: {failed.strerror}") from failed


def _check(ledger: Ledger) -> None:
    try:
        ledger.check()
    except LedgerUnavailable as unavailable:  # nobody waits for an answer yet: starting again is the cure
        raise StorageUnavailable(str(unavailable)) from unavailable
