"""Which epoch a checkpoint is of, and whether that epoch ever had so many records.

An epoch ends where the record of the next one stands. What was signed beyond that is no contradiction, for its loss was
declared; it is evidence of the loss, and is reported as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection, text

from db.auditing import Cause, Epoch, Finding, Verdict
from db.auditing_rows import raw
from db.epochs import open_any
from db.notes import Checkpoint, VerifierKey
from db.records import Kind

_BEGUN = text(
    "SELECT r.idx, r.observed_at_us, p.input, p.output, p.actor FROM record r"
    " LEFT JOIN payload p ON p.record_id = r.id WHERE r.kind = :kind ORDER BY r.idx"
)
_NOW = text("SELECT epoch FROM head")


class OtherEpoch(Exception):
    """A genuine checkpoint that cannot be of the ledger as it stands; the message says how it differs."""


class Epochs:
    """The epochs of one ledger, as its own records tell them."""

    def __init__(self, connection: Connection, key: VerifierKey) -> None:
        self._key = key
        self._now = max((each for each in connection.scalars(_NOW) if isinstance(each, int)), default=0)
        # Records are not indexed by kind: a ledger that never was restored is not searched for what it has not.
        rows = connection.execute(_BEGUN, {"kind": Kind.EPOCH}).all() if self._now else []
        self._wrong: list[Finding] = []
        self._begun = [epoch for row in rows if (epoch := self._read(row)) is not None]
        last = self._begun[-1].number if self._begun else 0
        if last != self._now:
            self._blame(None, f"the head is in epoch {self._now!r}, the records have begun {last}")

    def open(self, note: bytes, source: str | None) -> Checkpoint | None:
        """Open a checkpoint of any epoch; None where it is evidence from outside of what was declared lost.

        Raises:
            NoteRefused: nobody pinned has signed it.
            OtherEpoch: the ledger contradicts it.
        """
        number, signed = open_any(note, self._key)
        size = signed.checkpoint.size
        after = next((each for each in self._begun if each.number > number), None)
        if after is None and number != self._now:
            raise OtherEpoch(f"is of epoch {number}, and the ledger is in {self._now}: it was rolled back")
        own = next((each for each in self._begun if each.number == number), None)
        if own is not None and size <= own.size:
            raise OtherEpoch(f"is of {size} records in epoch {number}, which began behind {own.size}")
        if after is None or size <= after.size:
            return signed.checkpoint
        if source is None:
            raise OtherEpoch(f"is of epoch {number}, which ended with {after.size} records")
        after.evidence[source] = max(after.evidence.get(source, 0), size)
        return None

    def told(self, verdict: Verdict) -> Verdict:
        """Add to a verdict which epochs there are, and what is wrong with how they were begun."""
        listed = sorted([*verdict.findings, *self._wrong], key=lambda each: (each.at is None, each.at or 0))
        found = verdict.found + len(self._wrong)
        return replace(verdict, epochs=tuple(self._begun), findings=tuple(listed), found=found)

    def _read(self, row: Any) -> Epoch | None:
        try:
            said, actor = orjson.loads(raw(row.output)), orjson.loads(raw(row.actor))
            epoch = Epoch(
                number=said["epoch"],
                size=row.idx,
                by=str(actor.get("user", actor["client_id"])),
                at_us=row.observed_at_us,
                reason=orjson.loads(raw(row.input))["reason"],
                known_size=said["known"]["size"],
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            self._blame(row.idx, "begins an epoch, and does not say which")
            return None
        if said["size"] != row.idx or epoch.number <= getattr(self, "_last", 0):
            self._blame(row.idx, f"begins epoch {epoch.number} after {said['size']} records")
        self._last = epoch.number
        return epoch

    def _blame(self, at: int | None, detail: str) -> None:
        self._wrong.append(Finding(at=at, cause=Cause.EPOCH, detail=detail))


def lost(verdict: Verdict) -> Sequence[Epoch]:
    """Return the epochs before which records are known to be lost."""
    return [each for each in verdict.epochs if max([each.known_size, *each.evidence.values()]) > each.size]
