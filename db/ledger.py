"""The one writer: records are remembered for ever, in one dense order and one tree, before anyone is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from db import cosignatures, heads, holds, idempotency, receipts, tiles
from db.engine import DEADLINE_S, StorageRefused, harden, reason, scrub
from db.groups import Apply, Change, Group, Then, group_of, is_same
from db.idempotency import Stored
from db.notes import VerifierKey
from db.records import Appended, Receipt, Record, salts
from db.rows import Rows
from db.sealing import Head, LedgerForked, Seal
from db.tables import payload, record
from db.tree import Frontier, Growth, leaf_hashes

Result = TypeVar("Result")
_RETRY_S = 0.05  # between attempts to reconnect: a restarted PostgreSQL answers within seconds


class LedgerUnavailable(Exception):
    """Nothing was promised. The records are not in the ledger, or `outcome_unknown`: nobody can tell yet.

    Either way the same records may be appended again under the same ids.
    """

    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(reason)
        self.outcome_unknown = outcome_unknown


class RecordConflict(Exception):
    """Something else is already recorded under this id."""

    def __init__(self, record_id: UUID) -> None:
        super().__init__(f"record {record_id} is already stored with different content: make a new id")
        self.record_id = record_id


class RecordRefused(Exception):
    """The database cannot store a record of this group as it is; trying again will not help."""


class _Unsettled(Exception):
    """COMMIT was sent and its answer never came."""


class Ledger:
    """Appends through the pen; safe from any thread, one group at a time.

    Once it raised LedgerForked it appends nothing more: what this process knows and what is stored cannot both be
    true, and only a person can say which is.
    """

    def __init__(
        self,
        engine: Engine,
        seal: Seal,
        deadline_s: float = DEADLINE_S,
        anchor: Callable[[bytes], None] | None = None,
    ) -> None:
        """Take an engine of `open_pen`; `deadline_s` bounds the search for a commit whose outcome is unknown.

        `anchor` gets every signed checkpoint that `note` writes, after it is in the database.
        """
        self._engine, self._seal, self._deadline_s, self._anchor = engine, seal, deadline_s, anchor
        self._rows = Rows(engine)
        # What this process has seen durable, and of that the newest it has written a note of.
        self._seen: Frontier | None = None
        self._noted: Frontier | None = None
        # The head as this process left it, with its seal: read again just like that, it needs no other look.
        self._left: Head | None = None
        self._fork: str | None = None

    @property
    def key(self) -> VerifierKey:
        """Give away what verifies the notes that are written here."""
        return self._seal.key

    def stop(self, reason: str) -> None:
        """Append nothing more: somebody outside has proof that what is stored is not what was recorded."""
        self._fork = reason

    def check(self) -> None:
        """Look at the stored head before anything is appended; also notices a head that went backwards since.

        Raises:
            LedgerForked: it was not sealed with these keys, or is not the one this process left.
            LedgerUnavailable: the database cannot be read.
        """
        self._settle([])

    def append(self, records: Sequence[Record]) -> Appended:
        """Remember the records for ever, all or none, and return the place and the receipt of each.

        Returns only when they are on disk (and on the synchronous standby where one is configured). If the
        process dies before this returns, they may or may not exist; appending them again yields the same places.

        Raises:
            LedgerUnavailable: nothing was promised; the same records may be appended again.
            LedgerForked: the stored head is not what it must be; nothing is promised. Do not serve.
            RecordConflict: an id is already stored with other content; nothing of this group was appended.
            RecordRefused: the database takes a record of this group for no record; nothing was appended either.
            KeyTaken: a request with the key of one of them is on record already; nothing was appended either.
            Overtaken: what one of them was made from changed meanwhile; nothing was appended either.
        """
        return self._keep(records, Change())

    def change(self, record: Record, apply: Apply, then: Then | None = None) -> Appended:
        """Let `apply` change the current state and append the record of it, both or neither.

        Whatever `apply` raises is raised and nothing is changed. A record that is already stored was applied
        with it, so it is not applied again. `then` does, in the same transaction, what the stored record must precede.
        """
        return self._keep([record], Change(apply=apply, then=then))

    @property
    def hold_key(self) -> bytes:
        """The key under which held references are hashed (db/holds.py)."""
        return holds.key_of(self._seal.mac_key)

    def scrub(self) -> bool:
        """Take what was erased out of the files; False: try again later. Raises LedgerUnavailable."""
        try:
            return scrub(self._engine)
        except SQLAlchemyError as error:
            raise LedgerUnavailable(reason(error)) from error

    def note(self) -> bool:
        """Write a signed checkpoint of the newest head this process knows to be durable; False if there was none new.

        Raises:
            LedgerUnavailable, OSError: it is not written, or not anchored; the next call makes up for it.
        """
        seen = self._seen
        if seen is None or seen == self._noted or self._fork is not None:
            return False
        text = self._seal.note(seen.size, seen.root())
        self.beside(lambda connection: heads.put_note(connection, seen.size, text))
        if self._anchor is not None:
            self._anchor(text)
        self._noted = seen
        return True

    def cosigned(self, size: int, line: bytes, witness: VerifierKey) -> None:
        """Keep the line that this witness has put under the note of this size; raises LedgerUnavailable."""
        self.beside(lambda connection: cosignatures.put(connection, size, line, witness))

    def beside(self, work: Callable[[Connection], Result]) -> Result:
        """Write what is no record, in a transaction of its own; raises LedgerUnavailable."""
        try:
            with self._connection() as connection:
                connection.begin()
                result = work(connection)
                connection.commit()
        except (SQLAlchemyError, StorageRefused) as error:
            raise LedgerUnavailable(reason(error)) from error
        return result

    def receipt(self, connection: Connection, stored: Stored) -> Receipt:
        """Make again the receipt that this record was given, over a reader's connection; raises LedgerForked."""
        return idempotency.receipt(connection, self._seal, stored)

    def _keep(self, records: Sequence[Record], change: Change) -> Appended:
        """Append what is not stored yet; normally that is everything, so nothing is looked up first."""
        wanted: dict[UUID, Record] = {}
        for each in records:
            if wanted.setdefault(each.id, each) != each:
                raise RecordConflict(each.id)
        done: dict[UUID, Receipt] = {}
        while missing := [each for each in wanted.values() if each.id not in done]:
            try:
                done |= self._write(missing, change)
            except IntegrityError as conflict:
                stored = self._settle(missing)
                if not stored:
                    raise RecordRefused(reason(conflict)) from conflict
                done |= stored
            except _Unsettled as unsettled:
                done |= self._settle(missing)
                if len(done) < len(wanted):
                    raise LedgerUnavailable(str(unsettled)) from unsettled
        receipts = [done[each.id] for each in records]
        return Appended(places=[each.index for each in receipts], receipts=receipts)

    def _write(self, records: Sequence[Record], change: Change) -> dict[UUID, Receipt]:
        """Write one group in one transaction; after COMMIT was sent, no error says what became of it."""
        sent = False
        group = group_of(records)
        try:
            with self._connection() as connection:
                connection.begin()
                growth, left = self._insert(connection, group, change)
                sent = True
                connection.commit()
        except IntegrityError:
            raise
        except DataError as error:
            raise RecordRefused(reason(error)) from error
        except (SQLAlchemyError, StorageRefused) as error:
            if sent:
                raise _Unsettled(reason(error)) from error
            raise LedgerUnavailable(reason(error)) from error
        self._seen, self._left = growth.after, left
        made = receipts.of_growth(self._seal, growth, group.leaves, group.salts)
        return dict(zip((each.id for each in records), made, strict=True))

    def _insert(self, connection: Connection, group: Group, change: Change) -> tuple[Growth, Head]:
        """Insert the bulk before the lock on `head`; number the records and grow the tree under it."""
        self._rows.add_payloads(connection, group.records, group.secrets)
        head = heads.lock(connection)
        growth = self._open(connection, head).append(leaf_hashes(group.leaves))
        if change.apply is not None:
            change.apply(connection)
        places = range(growth.before.size, growth.after.size)
        bound = self._rows.add_records(connection, places, group.records, group.leaves)
        # What goes to disk is hashed again: memory that changed in between would make every later proof fail.
        if growth.before.append(leaf_hashes(bound)).after != growth.after:
            raise LedgerUnavailable(
                "leaves changed between hashing and writing: is this machine's memory sound?"
            )
        tiles.store(connection, growth)
        left = heads.advance(connection, head, self._seal, growth.after, group.records)
        if left is None:
            raise LedgerUnavailable("head moved under its lock: another writer does not take it")
        if change.then is not None:
            change.then(connection, growth.before.size)
        return growth, left

    def _open(self, connection: Connection, head: Head) -> Frontier:
        """Believe a head only with the right mac, and only if it has grown from the last that this process saw."""
        if self._fork is not None:
            raise LedgerForked(self._fork)
        if self._seen is not None and head == self._left:
            return self._seen
        frontier = self._seal.open(head, self._seen)
        if self._seen is not None and frontier.size > self._seen.size:
            # Others wrote meanwhile: another host, or whoever went back and let the ledger grow again.
            tiles.check_growth(connection, self._seen, frontier)
        return frontier

    def _settle(self, records: Sequence[Record]) -> dict[UUID, Receipt]:
        """Look up what became of these records, for as long as the deadline allows, and never guess."""
        deadline = time.monotonic() + self._deadline_s
        while True:
            try:
                return self._find(records)
            except (SQLAlchemyError, StorageRefused) as error:
                if time.monotonic() >= deadline:
                    raise LedgerUnavailable(reason(error), outcome_unknown=bool(records)) from error
            time.sleep(_RETRY_S)

    def _find(self, records: Sequence[Record]) -> dict[UUID, Receipt]:
        """Return the receipts of those that are stored.

        Whoever holds the lock on `head` knows that no earlier transaction is still about to commit; and once
        this commit is durable, so is everything it saw.
        """
        content = select(record, payload).join(payload, payload.c.record_id == record.c.id)
        given = {each.id: each for each in records}
        with self._connection() as connection:
            connection.begin()
            head = heads.lock(connection)
            frontier = self._open(connection, head)
            found = connection.execute(content.where(record.c.id.in_(given))).mappings().all()
            for row in found:
                if not is_same(row, given[row["id"]]):
                    raise RecordConflict(row["id"])
            paths = receipts.paths(tiles.reader(connection), frontier, {r["idx"]: r["leaf"] for r in found})
            connection.commit()
        harden(self._engine)
        self._seen, self._left = frontier, head
        made = receipts.of_paths(
            self._seal, frontier, paths, {r["idx"]: (r["leaf"], salts(r["secret"])) for r in found}
        )
        return {row["id"]: made[row["idx"]] for row in found}

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend the pen and throw it away after any failure: what a broken connection believes is worth nothing."""
        with self._engine.connect() as connection:
            try:
                yield connection
            except LedgerForked as fork:
                self._fork = str(fork)
                raise
            except IntegrityError:
                raise
            except SQLAlchemyError:
                connection.invalidate()
                raise
