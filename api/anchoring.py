"""The anchor file: signed checkpoints kept outside the database, one a line, only ever added to.

A database can be rolled back with everything that is in it; what it had said of itself is still here. On the same disk
this shows accidents and restored backups; on a disk or host of its own, it shows whoever owns the database too.

A line is a signed note with tabs for its newlines (a note has no tabs of its own): readable, and a line that a crash
tore has no newline at its end. The next append says so behind it and begins a new line; readers pass it over. Every
other line counts: one that cannot be believed is a finding.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.keys import sync_folder
from db import auditing_anchor
from db.epochs import open_any
from db.notes import MAX_BYTES, NoteRefused, VerifierKey

if TYPE_CHECKING:
    from api.settings import Settings

CURE_BEHIND = (
    'restore the newest state; where it is lost, declare that, and how much: python -m api epoch --reason "…"'
)
_TORN = b"\ttorn"
_TAIL = 2 * MAX_BYTES  # bytes that surely hold the last line


class AnchorRefused(Exception):
    """The database is not the one that was anchored, or an older state of it; `cure` says what to do."""

    def __init__(self, path: Path, reason: str, cure: str) -> None:
        super().__init__(f"ONRECORD_ANCHOR {path} {reason}; {cure}")
        self.path, self.reason, self.cure = path, reason, cure


class AnchorFile:
    """Appends checkpoints; one process at a time does, the one that holds the pen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, note: bytes) -> None:
        """Keep a checkpoint; returns when it is on disk. How often that is worth its fsync is for the caller to say.

        Raises:
            OSError: it is not kept, or not surely.
        """
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            line = note.removesuffix(b"\n").replace(b"\n", b"\t") + b"\n"
            if _is_torn(descriptor):
                line = _TORN + b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, "only a part could be written", str(self.path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(self.path.parent)

    def last(self) -> bytes | None:
        """Return the newest whole checkpoint; None where none was ever kept."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                notes = list(_notes(file.read()))
        except FileNotFoundError:
            return None
        except OSError as failed:
            raise AnchorRefused(
                self.path, f"cannot be read ({failed.strerror})", "check owner and mode"
            ) from failed
        return notes[-1] if notes else None

    def check(self, reader: Any, key: VerifierKey, epoch: int = 0) -> None:
        """Return only when the database behind this engine, in this epoch, has grown from what was anchored last.

        What was anchored in an epoch before is evidence for `verify`: that it is behind was declared since.

        Raises:
            AnchorRefused: it is older, or another one.
        """
        if (note := self.last()) is None:
            return
        try:
            anchored_epoch, signed = open_any(note, key)
        except NoteRefused as refused:
            cure = "if the ledger is new, move the old file away; if not, find out who wrote it"
            raise AnchorRefused(
                self.path, f"ends in a checkpoint of another ledger ({refused})", cure
            ) from refused
        if anchored_epoch > epoch:
            reason = f"knows epoch {anchored_epoch}, and the database is still in epoch {epoch}: it was rolled back"
            raise AnchorRefused(self.path, reason, CURE_BEHIND)
        try:
            if anchored_epoch == epoch:
                auditing_anchor.check(reader, signed.checkpoint)
        except auditing_anchor.Behind as behind:
            raise AnchorRefused(self.path, str(behind), CURE_BEHIND) from behind
        except auditing_anchor.Contradicted as contradicted:
            cure = (
                "run python -m api verify, and restore the state that was anchored; keep this one as evidence"
            )
            raise AnchorRefused(self.path, str(contradicted), cure) from contradicted


def anchor_of(settings: Settings) -> AnchorFile:
    """Open the anchor of this deployment; the file comes to be with its first checkpoint."""
    return AnchorFile(settings.anchor)


def read_anchor(path: Path) -> list[bytes]:
    """Read every checkpoint of an anchor file, or the only one of a file that is a signed note itself.

    Raises:
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    return [content] if b"\n\n" in content and b"\t" not in content else list(_notes(content))


def _notes(content: bytes) -> Iterator[bytes]:
    for line in content.split(b"\n")[:-1]:  # what stands behind the last newline is torn
        if line and not line.endswith(_TORN):
            yield line.replace(b"\t", b"\n") + b"\n"


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
