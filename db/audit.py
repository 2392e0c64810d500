"""The audit: everything in the database derived again from the leaves, and held against what stands outside of it.

Reads only, one moment of the database, page by page, in memory that does not grow with the ledger (anchors given to it
are held). The key comes from outside: a key out of the database would vouch for whoever wrote the database. It shares
only pure files with the writer, and believes no column, tile, frontier or root that it has not computed.

Compared: the order and number of records; every leaf with its columns, its payload and the rows of lookups; the root
with the head, every stored note and every anchor; the head's mac, where its key is given; all tiles; what is gone with
the records of erasures; clients, versions, aliases and holds with the recorded changes (db/auditing_state.py says what
no record knows).

Source: RFC 9162 section 2.1; C2SP tlog-checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from hmac import compare_digest, digest
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Engine, text

from db import auditing_erasures
from db.auditing import Anchor, Cause, Findings, Verdict
from db.auditing_rows import check, raw
from db.auditing_state import State
from db.auditing_tree import Claim, Regrown
from db.engine import reading
from db.notes import Checkpoint, NoteRefused, VerifierKey, open_checkpoint
from db.tree import Frontier, leaf_hash

_PAGE, _PAGE_BYTES = 1000, 2**23  # records of a page, fewer where they are large
_NOTES = 1000
_BEFORE_ALL = -(2**62)
_HEADS = text("SELECT * FROM head")
_SIZES = text(
    "SELECT r.idx, coalesce(length(p.input) + length(p.output) + length(p.actor) + length(p.meta), 0) AS held"
    " FROM record r LEFT JOIN payload p ON p.record_id = r.id WHERE r.idx > :after ORDER BY r.idx LIMIT :limit"
)
_RECORDS = text(
    "SELECT r.*, p.record_id, p.input, p.output, p.actor, p.meta, p.secret FROM record r"
    " LEFT JOIN payload p ON p.record_id = r.id WHERE r.idx > :after AND r.idx <= :last ORDER BY r.idx"
)
_PREDICTIONS = text(
    "SELECT idx, position, client_id, model, version, reference, label, score, observed_at_us, outcome_idx"
    " FROM prediction WHERE idx > :after AND idx <= :last ORDER BY idx, position"
)
_STRAY_PREDICTION = text(
    "SELECT idx, position FROM prediction WHERE idx > :last OR idx < 0 ORDER BY idx LIMIT 1"
)
_STRAY_PAYLOADS = text(
    "SELECT count(*) FROM payload p WHERE NOT EXISTS (SELECT 1 FROM record r WHERE r.id = p.record_id)"
)
_NOTE_PAGE = text("SELECT size, text FROM note WHERE size > :after ORDER BY size LIMIT :limit")
_COUNTS = {name: text(f"SELECT count(*) FROM {name}") for name in ("record", "payload")}  # noqa: S608  # our names
_Rows = dict[int, list[Any]]
Progress = Callable[[int, int], None]


def audit(
    engine: Engine,
    key: VerifierKey,
    anchors: Sequence[Anchor] = (),
    *,
    mac_key: bytes | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check one moment of the whole ledger against this key and these anchors.

    On SQLite a running service cannot reuse its write-ahead log until this is done; nobody waits.

    Raises:
        StorageUnavailable: the database cannot be read; nothing was found out.
    """
    with _moment(engine) as connection:
        return _Audit(connection, key, anchors).run(mac_key, progress or (lambda _done, _size: None))


@contextmanager
def _moment(engine: Engine) -> Iterator[Connection]:
    """Hold one snapshot: a service may go on writing meanwhile."""
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            moment = connection
            moment.exec_driver_sql("BEGIN")  # the driver is told to begin nothing by itself
        else:
            moment = connection.execution_options(isolation_level="REPEATABLE READ")
        try:
            yield moment
        finally:
            moment.rollback()


class _Audit:
    """One walk through one ledger."""

    def __init__(self, connection: Connection, key: VerifierKey, anchors: Sequence[Anchor]) -> None:
        self._connection, self._key = connection, key
        self._findings, self._state = Findings(), State()
        self._notes = self._signed = self._anchored = 0
        self._records = self._payloads = self._predictions = 0
        self._gone = auditing_erasures.Gone()
        self._latest_us = self._lag_us = 0
        self._last = _BEFORE_ALL
        self._given = {each.source: 0 for each in anchors}
        self._claims = self._opened(anchors)

    def run(self, mac_key: bytes | None, progress: Progress) -> Verdict:
        """Walk from the first record to the last, then look at what is only known at the end."""
        heads = self._connection.execute(_HEADS).all()
        size = heads[0].size if heads else 0
        claims = merge(self._claims, self._stored_notes(size), key=lambda claim: claim.size)
        tree = Regrown(self._connection, claims, self._findings, size)
        self._walk(tree, size, progress)
        tree.end(size)
        self._head(heads, tree.frontier, mac_key)
        self._strays()
        self._state.compare(self._connection, self._findings)
        return self._verdict(size, tree.frontier)

    def _verdict(self, size: int, frontier: Frontier) -> Verdict:
        return Verdict(
            origin=self._key.name,
            key_id=f"{self._key.name}+{self._key.id.hex()}",  # the key itself, in Base64, may have a plus
            size=size,
            root=frontier.root(),
            records=self._records,
            payloads=self._payloads,
            predictions=self._predictions,
            erased=self._gone.records,
            notes=self._notes,
            signed=self._signed,
            anchored=self._anchored,
            anchors=dict(self._given),
            is_mac_checked=self._is_mac_checked,
            findings=self._findings.listed(),
            found=self._findings.count.total(),
        )

    def _walk(self, tree: Regrown, size: int, progress: Progress) -> None:
        expected = 0
        for rows, predictions, gone in self._pages():
            hashes: list[bytes] = []
            for row in rows:
                if row.idx != expected or row.idx >= size:
                    tree.append(hashes)
                    tree.tear()
                    hashes = []
                    self._out_of_order(row.idx, expected, size)
                hashes.append(leaf_hash(raw(row.leaf)))
                self._record(row, predictions.pop(row.idx, ()), gone.pop(row.idx, ()))
                expected = row.idx + 1
            for idx in predictions:
                self._findings.add(
                    idx, Cause.PREDICTION, f"rows of lookups name record {idx}, which is not there"
                )
            tree.append(hashes)
            progress(self._records, size)
        if expected < size:
            self._findings.add(
                expected, Cause.ORDER, f"the head says {size} records, and there are {expected}"
            )

    def _pages(self) -> Iterator[tuple[Sequence[Any], _Rows, _Rows]]:
        """Read records with what belongs to them, as many at a time as fit; their sizes cost little to ask."""
        while sizes := self._connection.execute(_SIZES, {"after": self._last, "limit": _PAGE}).all():
            within = {"after": self._last, "last": _until(sizes)}
            rows = self._connection.execute(_RECORDS, within).all()
            predictions = self._connection.execute(_PREDICTIONS, within).all()
            gone = auditing_erasures.of_page(self._connection, **within)
            yield rows, _by_record(predictions), gone
            self._last = within["last"]

    def _out_of_order(self, idx: int, expected: int, size: int) -> None:
        if idx > expected:
            detail = f"records {expected} to {idx - 1} are missing"
        elif idx < expected:
            detail = f"place {idx} is taken twice"
        else:
            detail = f"stands beyond the head, which ends at {size}"
        self._findings.add(min(idx, expected), Cause.ORDER, detail)

    def _record(self, row: Any, predictions: Sequence[Any], gone: Sequence[Any]) -> None:
        wrong = check(row, predictions, auditing_erasures.union(gone))
        for cause, detail in chain(wrong, self._gone.check(self._connection, row, gone)):
            self._findings.add(row.idx, cause, detail)
        self._state.apply(row.idx, row)
        self._records += 1
        self._payloads += row.record_id is not None
        self._predictions += len(predictions)
        self._latest_us = max(self._latest_us, row.observed_at_us)
        self._lag_us = max(self._lag_us, self._latest_us - row.observed_at_us)

    def _opened(self, anchors: Sequence[Anchor]) -> list[Claim]:
        """Believe those anchors that the key has signed; one that it has not is a finding, never nothing."""
        claims = []
        for anchor in anchors:
            checkpoint = self._open(anchor.note, Cause.ANCHOR, f"a checkpoint from {anchor.source}", None)
            if checkpoint is not None:
                self._given[anchor.source] += 1
                self._anchored = max(self._anchored, checkpoint.size)
                who = f"the checkpoint from {anchor.source}"
                claims.append(Claim(size=checkpoint.size, root=checkpoint.root, cause=Cause.ANCHOR, who=who))
        return sorted(claims, key=lambda claim: claim.size)

    def _stored_notes(self, head_size: int) -> Iterator[Claim]:
        after = _BEFORE_ALL
        while rows := self._connection.execute(_NOTE_PAGE, {"after": after, "limit": _NOTES}).all():
            for size, content in rows:
                self._notes += 1
                checkpoint = self._open(raw(content), Cause.NOTE, f"note {size}", min(size, head_size))
                if checkpoint is None:
                    continue
                if checkpoint.size != size:
                    detail = f"note {size} is a checkpoint of {checkpoint.size} records"
                    self._findings.add(min(size, head_size), Cause.NOTE, detail)
                    continue
                self._signed = max(self._signed, size)
                yield Claim(size=size, root=checkpoint.root, cause=Cause.NOTE, who="a stored note")
            after = rows[-1].size

    def _open(self, note: bytes, cause: Cause, what: str, at: int | None) -> Checkpoint | None:
        try:
            return open_checkpoint(note, self._key).checkpoint
        except NoteRefused as refused:
            self._findings.add(at, cause, f"{what} is not to be believed: {refused}")
            return None

    def _head(self, heads: Sequence[Any], frontier: Frontier, mac_key: bytes | None) -> None:
        self._is_mac_checked = mac_key is not None
        if len(heads) != 1 or heads[0].id != 1:
            self._findings.add(None, Cause.HEAD, f"there is one head, and its id is 1; found: {len(heads)}")
            return
        head = heads[0]
        expected = {
            "latest_us": self._latest_us,
            "lag_us": self._lag_us,
            "origin": self._key.name,
            "root": frontier.root(),
            "frontier": frontier.to_bytes(),
        }
        if frontier.size != head.size:  # a finding of its own; these would only repeat it
            del expected["root"], expected["frontier"]
        for name, value in expected.items():
            if (have := getattr(head, name)) != value:
                self._findings.add(
                    None, Cause.HEAD, f"{name} is {_shown(have)}, the records say {_shown(value)}"
                )
        if mac_key is not None and not _is_sealed(head, mac_key):
            self._findings.add(None, Cause.HEAD, "its mac was not made with the key of this ledger")

    def _strays(self) -> None:
        """Look for what the walk cannot meet: rows of no record, and records that an index hides."""
        counted = {name: self._connection.scalars(query).one() for name, query in _COUNTS.items()}
        if counted["record"] != self._records:
            detail = f"{counted['record']} records are stored, and {self._records} can be reached in order"
            self._findings.add(None, Cause.ORDER, detail)
        if counted["payload"] != self._payloads:
            strays = self._connection.scalars(_STRAY_PAYLOADS).one()
            self._findings.add(None, Cause.PAYLOAD, f"{strays} payloads belong to no record")
        for cause, detail in self._gone.strays(self._connection):
            self._findings.add(None, cause, detail)
        stray = self._connection.scalar(_STRAY_PREDICTION, {"last": self._last})
        if stray is not None:
            self._findings.add(
                stray, Cause.PREDICTION, f"rows of lookups name record {stray}, which is not there"
            )


def _is_sealed(head: Any, key: bytes) -> bool:
    if min(head.epoch, head.size) < 0 or head.epoch >= 2**32:
        return False
    numbers = head.epoch.to_bytes(4) + head.size.to_bytes(8)
    message = b"head/v1" + head.origin.encode() + b"\0" + numbers + raw(head.root) + raw(head.frontier)
    return compare_digest(raw(head.mac), digest(key, message, "sha256"))


def _by_record(rows: Sequence[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.idx, []).append(row)
    return found


def _until(sizes: Sequence[Any]) -> int:
    held = 0
    for row in sizes:
        held += row.held
        if held > _PAGE_BYTES:
            return int(row.idx)
    return int(sizes[-1].idx)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
