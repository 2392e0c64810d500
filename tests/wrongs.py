"""What goes wrong inside a writer (tests/writer.py): builds that break a promise, and moments to stop at."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg

from db import heads, postgresql, receipts, sqlite
from db.driver import Prepared
from db.ledger import Ledger, LedgerUnavailable
from db.records import Receipt, Record
from db.rows import Rows
from tests.ledgers import SEAL

# Where an append can be stopped, in their order: whose method, and whether before or after it.
MOMENTS: dict[str, tuple[str, str]] = {
    "asked": ("ledger.append", "before"),
    "payloads inserted": ("rows.add_payloads", "after"),
    "head locked": ("heads.lock", "after"),
    "records inserted": ("rows.add_records", "after"),
    "head moved": ("heads.advance", "after"),
    "commit not sent": ("pen.commit", "before"),
    "committed": ("pen.commit", "after"),
    "signed": ("receipts.of_growth", "after"),
    "promised": ("ledger.append", "after"),
}
_PLACES: dict[str, list[Any]] = {
    "ledger": [Ledger],
    "rows": [Rows],
    "heads": [heads],
    "receipts": [receipts],
    "pen": [sqlite._Pen, postgresql._Bounded],
}


def at(moment: str, number: int) -> None:
    """Send this process a signal once, the next time it comes to a moment."""
    place, when = MOMENTS[moment]
    room, name = place.split(".")
    for owner in _PLACES[room]:
        _wrap(owner, name, when, number)


def _wrap(owner: Any, name: str, when: str, number: int) -> None:
    usual = getattr(owner, name)

    def stopped(*arguments: Any, **keywords: Any) -> Any:
        setattr(owner, name, usual)
        if when == "before":
            os.kill(os.getpid(), number)
            return usual(*arguments, **keywords)
        came = usual(*arguments, **keywords)
        os.kill(os.getpid(), number)
        return came

    setattr(owner, name, stopped)


def _tells_first() -> None:
    """Promise first and append afterwards (M1)."""
    from tests import writer

    def promise(self: Any, records: list[Record]) -> None:
        self.told(records)
        self.open().append(records)

    writer._Living.promise = promise  # type: ignore[method-assign]  # that is what a mutation is


def _denies() -> None:
    """Take a commit whose outcome is unknown for one that failed, without looking (M9)."""

    def settle(self: Ledger, records: Sequence[Record]) -> dict[UUID, Receipt]:
        if not records:
            return settled(self, records)
        raise LedgerUnavailable("it must have failed")

    settled = Ledger._settle
    Ledger._settle = settle  # type: ignore[method-assign]  # likewise


def _believes() -> None:
    """Take a commit whose outcome is unknown for one that was done (M10)."""

    def commit(self: postgresql._Bounded) -> None:
        with suppress(psycopg.Error):
            committed(self)

    committed = postgresql._Bounded.commit
    postgresql._Bounded.commit = commit  # type: ignore[method-assign]  # likewise


def _pragma(name: str, wanted: str, expected: int) -> Callable[[], None]:
    """Let SQLite's pen have another setting."""

    def change() -> None:
        rest = tuple(each for each in sqlite._PEN if each[0] != name)
        sqlite._PEN = (*rest, (name, wanted, expected))

    return change


def _does_not_lock() -> None:
    """Read the head without taking its lock."""
    heads._LOCKED = Prepared(heads._HEAD)


def _has_other_keys() -> None:
    """Be of another deployment."""
    from tests import writer

    writer.SEAL = replace(SEAL, mac_key=bytes(32))


MUTATIONS: dict[str, Callable[[], None]] = {
    "tells-first": _tells_first,
    "does-not-lock": _does_not_lock,
    "has-other-keys": _has_other_keys,
    "denies": _denies,
    "believes": _believes,
    "checkpoints-at-once": _pragma("wal_autocheckpoint", "1", 1),  # as one commit in some hundreds does
    "syncs-seldom": _pragma("synchronous", "NORMAL", 1),
    "syncs-nothing": _pragma("synchronous", "OFF", 0),
}
