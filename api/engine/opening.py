"""The ledger of a deployment, opened for whoever holds the pen: its database, its keys, its anchor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.anchoring import anchor_of
from api.engine import seals
from api.settings import Settings
from db import heads
from db.engine import StorageUnavailable, open_pen
from db.ledger import Ledger, LedgerUnavailable


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger and look at its head before anything is appended; closes the database at the end.

    Raises:
        KeyRefused, StorageRefused, StorageUnavailable: it cannot be opened.
        LedgerForked: the stored head is not one these keys sealed.
        AnchorRefused: it is older than what was anchored, or another one.
    """
    seal, anchor = seals.read(settings.var), anchor_of(settings)
    writer = open_pen(settings.database_url)
    try:
        # Which epoch it is in is for the head to say: its mac covers that, and is looked at next.
        seal = seal.begun(heads.read(writer).epoch)
        ledger = Ledger(writer, seal, anchor=anchor.append)
        _check(ledger)
        anchor.check(writer, seal.signer.key(), seal.epoch)
        yield ledger
    finally:
        writer.dispose()


def _check(ledger: Ledger) -> None:
    try:
        ledger.check()
    except LedgerUnavailable as unavailable:  # nobody waits for an answer yet: starting again is the cure
        raise StorageUnavailable(str(unavailable)) from unavailable
