"""What was signed about the ledger, inside of the database and outside: opened with the pinned key, or a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from db.auditing import Anchor, Cause, Findings
from db.auditing_epochs import Epochs, OtherEpoch
from db.auditing_rows import raw
from db.auditing_tree import Claim
from db.notes import Checkpoint, NoteRefused

_NOTES = 1000  # read at once
_NOTE_PAGE = text("SELECT size, text FROM note WHERE size > :after ORDER BY size LIMIT :limit")
_LAST = text("SELECT max(size) FROM note WHERE size <= :size")
_PASSED = text("SELECT count(*) FROM note WHERE size <= :after")
_BEFORE_ALL = -(2**62)


class Claims:
    """Opens notes and anchors, and counts them: one that the key has not signed is a finding, never nothing."""

    def __init__(self, epochs: Epochs, findings: Findings, anchors: Sequence[Anchor]) -> None:
        self.notes = self.signed = self.anchored = 0
        self.given = {each.source: 0 for each in anchors}
        self._epochs, self._findings = epochs, findings
        self._anchors = anchors

    def outside(self) -> list[Claim]:
        """Open the anchors; in the order of their sizes."""
        claims = []
        for anchor in self._anchors:
            what = f"a checkpoint from {anchor.source}"
            checkpoint = self._open(anchor.note, Cause.ANCHOR, what, None, anchor.source)
            if checkpoint is not None:
                self.given[anchor.source] += 1
                self.anchored = max(self.anchored, checkpoint.size)
                who = f"the checkpoint from {anchor.source}"
                claims.append(Claim(size=checkpoint.size, root=checkpoint.root, cause=Cause.ANCHOR, who=who))
        return sorted(claims, key=lambda claim: claim.size)

    def stored(self, connection: Connection, head_size: int, since: int) -> Iterator[Claim]:
        """Open the stored notes, in the order of their sizes; of those up to `since` the last one only."""
        first = connection.scalar(_LAST, {"size": since}) if since else None
        after = _BEFORE_ALL if first is None else first - 1
        self.notes = connection.scalars(_PASSED, {"after": after}).one()
        while rows := connection.execute(_NOTE_PAGE, {"after": after, "limit": _NOTES}).all():
            for size, content in rows:
                self.notes += 1
                checkpoint = self._open(raw(content), Cause.NOTE, f"note {size}", min(size, head_size))
                if checkpoint is None:
                    continue
                if checkpoint.size != size:
                    detail = f"note {size} is a checkpoint of {checkpoint.size} records"
                    self._findings.add(min(size, head_size), Cause.NOTE, detail)
                    continue
                self.signed = max(self.signed, size)
                yield Claim(size=size, root=checkpoint.root, cause=Cause.NOTE, who="a stored note")
            after = rows[-1].size

    def _open(
        self, note: bytes, cause: Cause, what: str, at: int | None, source: str | None = None
    ) -> Checkpoint | None:
        try:
            return self._epochs.open(note, source)
        except OtherEpoch as other:
            self._findings.add(at, cause, f"{what} {other}")
            return None
        except NoteRefused as refused:
            self._findings.add(at, cause, f"{what} is not to be believed: {refused}")
            return None
