"""A witness: remembers the newest checkpoint of each log it knows, and cosigns only what has grown from there.

One row per log, in a file of its own that one process holds. The row is compared and replaced in one transaction, and
that is on disk before anybody gets the cosignature: whatever dies when, two histories are never both cosigned.

Source: C2SP tlog-witness, tlog-cosignature.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from db.engine import StorageRefused, StorageUnavailable, harden, open_pen, reason
from db.notes import (
    Checkpoint,
    NoteRefused,
    Signer,
    VerifierKey,
    attach,
    cosign,
)
from db.submissions import Submission, alone, stated
from db.tree import EMPTY_ROOT, ProofRefused, verify_consistency

_TABLES = MetaData()
_SEEN = Table(
    "seen",
    _TABLES,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),  # with our cosignature under it: what is shown to monitors
)


class UnknownLog(LookupError):
    """Nobody gave this witness a key of that origin, or it has not seen that log yet."""


class NotSigned(Exception):
    """No key that was given for this origin has signed the checkpoint."""


class OtherSize(Exception):
    """The submission does not begin where this witness is; `size` is where that is."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the newest checkpoint cosigned here has {size} records")
        self.size = size


class NotGrown(Exception):
    """The proof does not lead from the checkpoint that was cosigned last to this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offered:
    submission: Submission
    checkpoint: Checkpoint
    note: bytes  # with the signature of the log alone: what others have put under it is for others to keep


class Witness:
    """Cosigns for the logs whose keys it was given; safe from any thread, one submission at a time."""

    def __init__(
        self, file: Path, signer: Signer, logs: Iterable[VerifierKey], clock_s: Callable[[], int]
    ) -> None:
        """Open the file, or make it; a key's name is the origin it signs for, and an origin may have several.

        Raises:
            StorageRefused: another witness holds the file, or the disk cannot keep what a witness promises.
        """
        self._signer, self._clock_s = signer, clock_s
        self._logs: dict[str, list[VerifierKey]] = {}
        for key in logs:
            self._logs.setdefault(key.name, []).append(key)
        self._engine = open_pen(f"sqlite:///{file}")
        self._turn = threading.Lock()
        self._is_in_doubt = False
        with self._engine.begin() as connection:
            _TABLES.create_all(connection)

    def add(self, data: bytes) -> bytes:
        """Cosign the checkpoint of a submission and return the signature line; returns when that is on disk.

        Raises:
            NoteRefused, UnknownLog, NotSigned, OtherSize, NotGrown: nothing was cosigned.
            StorageUnavailable: nothing was cosigned, as it could not be kept; ask again.
        """
        offered = self._opened(data)
        with self._turn:
            try:
                if self._is_in_doubt:
                    harden(self._engine)
                with self._engine.connect() as connection:
                    return self._kept(connection, offered)
            except (SQLAlchemyError, StorageRefused) as failed:
                # What a failed commit left visible may not be on disk, so nothing is cosigned on top of it before.
                self._is_in_doubt = True
                self._engine.dispose()
                raise StorageUnavailable(reason(failed)) from failed

    def seen(self, origin: str) -> bytes:
        """Return the newest checkpoint cosigned for a log, with the log's signature and ours.

        Raises:
            UnknownLog: there is none.
            StorageUnavailable: the file cannot be read.
        """
        with self._turn:
            try:
                with self._engine.begin() as connection:
                    note = connection.scalar(select(_SEEN.c.note).where(_SEEN.c.origin == origin))
            except (SQLAlchemyError, StorageRefused) as failed:
                raise StorageUnavailable(reason(failed)) from failed
        if note is None:
            raise UnknownLog(f"no checkpoint of {origin} was cosigned here")
        return bytes(note)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _opened(self, data: bytes) -> _Offered:
        submission = Submission.parse(data)
        origin = stated(submission.note).origin
        if origin not in self._logs:
            raise UnknownLog(f"this witness was given no key of {origin}")
        try:
            note = alone(submission.note, self._logs[origin])
        except NoteRefused as refused:
            raise NotSigned(f"as a checkpoint of {origin}: {refused}") from refused
        checkpoint = stated(note)
        if submission.old > checkpoint.size:
            raise NoteRefused(f"a tree of {checkpoint.size} records has not grown from {submission.old}")
        return _Offered(submission=submission, checkpoint=checkpoint, note=note)

    def _kept(self, connection: Connection, offered: _Offered) -> bytes:
        """Compare and replace in one transaction that nobody else can be inside of."""
        checkpoint, submission = offered.checkpoint, offered.submission
        with connection.begin():
            row = connection.execute(select(_SEEN).where(_SEEN.c.origin == checkpoint.origin)).one_or_none()
            size, root = (row.size, bytes(row.root)) if row else (0, EMPTY_ROOT)
            if submission.old != size:
                raise OtherSize(size)
            if size == checkpoint.size and row and root != checkpoint.root:
                raise OtherSize(size)
            try:
                verify_consistency(size, checkpoint.size, submission.hashes, root, checkpoint.root)
            except ProofRefused as refused:
                raise NotGrown(str(refused)) from refused
            line = cosign(offered.note, self._signer, self._clock_s())
            seen = {"size": checkpoint.size, "root": checkpoint.root, "note": attach(offered.note, [line])}
            connection.execute(delete(_SEEN).where(_SEEN.c.origin == checkpoint.origin))
            connection.execute(insert(_SEEN).values(origin=checkpoint.origin, **seen))
        self._is_in_doubt = False
        return line
