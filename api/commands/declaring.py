"""Declaring an epoch: which checkpoints this database is behind of, and the record that says so before all others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from api.anchoring import anchor_of, read_anchor
from api.commands.submitting import actor
from api.engine import pen, seals
from api.refusals import CommandRefused
from api.settings import Settings
from db import auditing_anchor, epochs, heads, migrate
from db.engine import open_pen
from db.ledger import Ledger, LedgerUnavailable
from db.notes import Checkpoint, NoteRefused, VerifierKey
from db.records import Kind, Record, new_id
from db.sealing import Head, Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A checkpoint that somebody kept, and of which epoch it is."""

    epoch: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What was declared; `lost` counts what was anchored: records after the last checkpoint may be lost as well."""

    number: int
    size: int
    known_epoch: int
    lost: int
    key: VerifierKey


def declare(settings: Settings, reason: str, anchors: Sequence[Path]) -> Declared:
    """Append the record that begins the next epoch and seal the head for it, in one transaction; then sign and anchor.

    Raises:
        CommandRefused: the database is not behind anything, or it is not an older state but another history.
        LedgerForked, AnchorRefused, StorageRefused, PenTaken: as for every command that writes.
    """
    migrate.check(settings.database_url)
    with pen.held(settings.var, wait_s=1.0):
        seal, anchor = seals.read(settings.var), anchor_of(settings)
        writer = open_pen(settings.database_url)
        try:
            head = heads.read(writer)
            seal = seal.begun(head.epoch)
            Ledger(writer, seal).check()
            known = _known(seal.signer.key(), [anchor.path, *anchors])
            newest = _behind(writer, head, known)
            number = max(head.epoch, *(each.epoch for each in known)) + 1
            record, lost = _record(reason, number, head, newest)
            _begin(writer, seal, record, number)
            after = Ledger(writer, seal.begun(number), anchor=anchor.append)
            after.check()
            after.note()
        except LedgerUnavailable as unavailable:
            raise CommandRefused(f"not known to be declared ({unavailable}): ask again") from unavailable
        finally:
            writer.dispose()
    key = epochs.key_of(seal.signer.key(), number)
    return Declared(number=number, size=head.size, known_epoch=newest.epoch, lost=lost, key=key)


def _begin(writer: Any, seal: Seal, record: Record, number: int) -> None:
    Ledger(writer, seal).change(
        record,
        lambda _connection: None,
        lambda connection, _size: heads.begin(connection, seal.begun(number)),
    )


def _known(key: VerifierKey, files: Sequence[Path]) -> list[Known]:
    found = []
    for path in files:
        try:
            for note in read_anchor(path) if path.exists() else ():
                epoch, signed = epochs.open_any(note, key)
                found.append(Known(epoch=epoch, checkpoint=signed.checkpoint))
        except (NoteRefused, OSError) as refused:
            raise CommandRefused(f"--anchor {path}: {refused}") from refused
    return found


def _behind(reader: Any, head: Head, known: Sequence[Known]) -> Known:
    """Return the newest checkpoint that the database is behind of, if it is an older state of the same history."""
    ahead = [
        each
        for each in known
        if each.epoch > head.epoch or (each.epoch == head.epoch and each.checkpoint.size > head.size)
    ]
    if not ahead:
        raise CommandRefused(
            f"the database, with {head.size} records in epoch {head.epoch}, is not behind any checkpoint that is kept:"
            " there is nothing to declare (--anchor names a file with one, of a witness or a receipt)"
        )
    held = [each for each in known if each.epoch == head.epoch and each.checkpoint.size <= head.size]
    try:
        for each in sorted(held, key=lambda each: each.checkpoint.size)[-1:]:
            auditing_anchor.check(reader, each.checkpoint)
    except auditing_anchor.Contradicted as contradicted:
        raise CommandRefused(
            f"this is no older state of the ledger: what was kept {contradicted}; run python -m api verify"
        ) from contradicted
    return max(ahead, key=lambda each: (each.epoch, each.checkpoint.size))


def _record(reason: str, number: int, head: Head, newest: Known) -> tuple[Record, int]:
    at_us = time.time_ns() // 1000
    lost = max(newest.checkpoint.size - head.size, 0)
    known = {
        "epoch": newest.epoch,
        "size": newest.checkpoint.size,
        "root": newest.checkpoint.root.hex(),
    }
    said = {"epoch": number, "size": head.size, "root": head.root.hex(), "known": known, "lost": lost}
    record = Record(
        id=new_id(at_us),
        kind=Kind.EPOCH,
        observed_at_us=at_us,
        client_id=actor()["client_id"],
        status=200,
        input=orjson.dumps({"reason": reason}),
        output=orjson.dumps(said),
        actor=orjson.dumps(actor()),
        meta=b"{}",
    )
    return record, lost
