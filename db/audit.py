"""The audit: everything in the database derived again from the leaves, and held against what stands outside of it.

Reads only, one moment of the database, range by range, in memory that does not grow with the ledger (anchors given to
it are held). The key comes from outside: a key out of the database would vouch for whoever wrote the database. Only
pure files are shared with the writer, and no column, tile, frontier or root is believed that was not computed here.

Compared: the order and number of records; every leaf with its columns, its payload and the rows of lookups; the root
with the head, every stored note and every anchor; the head's mac, where its key is given; all tiles; what is gone with
the records of erasures; what was made from what, and what is known to have happened, with the records that say so;
clients, versions, aliases and holds with the recorded changes (db/auditing_state.py says what
no record knows); the keys of requests with their records.

auditing_pool.py    ranges of records, given to several processes
auditing_ranges.py  one range: what is asked of each record by itself
auditing_quick.py   is this record as it must be, yes or no; auditing_rows.py says what is wrong with one that is not
auditing_blocks.py  columns of predictions, made again
auditing_tree.py    the tree grown again, and the claims about it, which auditing_claims.py opens
auditing_schema.py  that our tables are read, and nothing in front of them; auditing_files.py: that no index lost a row
auditing_resume.py  how far an audit came, for the next one

Source: RFC 9162 section 2.1; C2SP tlog-checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from heapq import merge

from sqlalchemy import Connection, Engine, text

from db import auditing_blocks, auditing_derived, auditing_erasures, auditing_keys, auditing_witnesses
from db import auditing_files as files
from db import auditing_head as head
from db import auditing_pool as pool
from db import auditing_resume as resume
from db import auditing_schema as schema
from db.auditing import Anchor, Cause, Findings, Tally, Verdict
from db.auditing_claims import Claims
from db.auditing_epochs import Epochs
from db.auditing_ranges import Again, Examined, examine_again
from db.auditing_resume import Reached
from db.auditing_state import State
from db.auditing_tree import Regrown, Tiles
from db.engine import moment
from db.notes import VerifierKey
from db.tree import HASH_BYTES

_BEYOND = 20  # records beyond the head that are named
_STRAY_RECORDS = text("SELECT idx FROM record WHERE idx < 0 OR idx >= :size ORDER BY idx LIMIT :limit")
_END = text("SELECT coalesce(max(idx), -1) + 1 FROM record")
_STRAY_PREDICTION = text("SELECT idx FROM prediction WHERE idx < 0 OR idx >= :size ORDER BY idx LIMIT 1")
_STRAY_PAYLOADS = text(
    "SELECT count(*) FROM payload p WHERE NOT EXISTS (SELECT 1 FROM record r WHERE r.id = p.record_id)"
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to go about an audit."""

    processes: int = 1
    progress: Progress = lambda _done, _size: None
    since: Reached = field(default_factory=Reached)  # what an earlier audit found sound
    keep: Callable[[Reached], None] = lambda _reached: None  # told again and again how far this one came


def audit(  # noqa: PLR0913  # each thing that is believed from outside is named
    engine: Engine,
    key: VerifierKey,
    anchors: Sequence[Anchor] = (),
    *,
    witnesses: Sequence[VerifierKey] = (),
    mac_key: bytes | None = None,
    how: How | None = None,
) -> Verdict:
    """Check one moment of the whole ledger against this key and these anchors.

    On SQLite a running service cannot reuse its write-ahead log until this is done; nobody waits.

    Raises:
        StorageUnavailable: the database cannot be read; nothing was found out.
    """
    how = how or How()
    with _moment(engine) as connection, files.complaints(engine, connection, how.processes) as complaints:
        findings = Findings()
        epochs = Epochs(connection, key)
        claims = Claims(epochs, findings, anchors)
        verdict = _Audit(engine, connection, claims, findings, complaints).run(key, mac_key, how)
        return auditing_witnesses.witnessed(epochs.told(verdict), connection, key, witnesses)


@contextmanager
def _moment(engine: Engine) -> Iterator[Connection]:
    """Hold one snapshot: a service may go on writing meanwhile."""
    with moment(engine) as held:
        schema.pin(held)
        yield held


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    key: VerifierKey
    size: int
    since: int
    is_mac_checked: bool


class _Audit:
    """One walk through one ledger."""

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        claims: Claims,
        findings: Findings,
        complaints: Future[list[str]],
    ) -> None:
        self._engine, self._connection, self._complaints = engine, connection, complaints
        self._claims, self._findings = claims, findings
        self._state, self._tally = State(), Tally()
        self._blocks: list[tuple[int, int]] = []  # of which one column at least is not what the payloads say

    def run(self, key: VerifierKey, mac_key: bytes | None, how: How) -> Verdict:
        """Walk from the first record to the last, then look at what is only known at the end."""
        for difference in schema.differences(self._connection):
            self._findings.add(None, Cause.SCHEMA, difference)
        heads = head.read(self._connection)
        size = head.size(heads)
        since = self._begin(how.since, size)
        tree = self._grow(since, size, how)
        tree.end(size)
        for complaint in self._complaints.result():
            self._findings.add(None, Cause.FILE, complaint)
        self._look_at_blocks(size)
        self._strays(size)
        for difference in head.differences(heads, key.name, self._tally, tree.frontier):
            self._findings.add(None, Cause.HEAD, difference)
        if mac_key is not None and not head.is_sealed(heads, mac_key):
            self._findings.add(None, Cause.HEAD, "its mac was not made with the key of this ledger")
        self._state.compare(self._connection, self._findings)
        for idx, detail in auditing_keys.differences(self._connection, size):
            self._findings.add(idx, Cause.STATE, detail)
        self._keep(how, tree, size)
        about = _About(key=key, size=size, since=since.size, is_mac_checked=mac_key is not None)
        return self._verdict(about, tree.frontier.root())

    def _begin(self, since: Reached, size: int) -> Reached:
        """Take up where an earlier audit ended: what changed the state, and what was erased since, is read again."""
        if since.as_of > size:
            detail = f"an earlier audit knew {since.as_of} records, and only {size} are left"
            self._findings.add(size, Cause.ANCHOR, detail)
            return Reached()
        self._tally = since.tally
        for idx in resume.told(self._connection, since.size):
            again = self._look(idx)
            for row in again.rows:
                self._state.apply(idx, row)
        for idx, counted in resume.erased_since(self._connection, since):
            again = self._look(idx)
            self._tally = self._tally.without(counted).then(
                replace(again.tally, predictions=0, derived=0, outcomes=0)
            )
        self._blocks += auditing_blocks.across(self._connection, since.size)
        return since

    def _grow(self, since: Reached, size: int, how: How) -> Regrown:
        claims = merge(
            self._claims.outside(),
            self._claims.stored(self._connection, size, since.size),
            key=lambda claim: claim.size,
        )
        stored = Tiles(self._connection, self._findings, size)
        tree = Regrown(since.frontier, claims, self._findings, stored)
        # A head can state any size: nobody walks through nothing.
        end = min(size, self._connection.scalars(_END).one())
        for seen in pool.examined(self._engine, self._connection, range(since.size, end), how.processes):
            self._meet(seen, tree)
            how.progress(seen.stop, size)
            self._keep(how, tree, size)
        if end < size:
            detail = f"the head says {size} records, and there are {end}"
            self._findings.add(end, Cause.ORDER, detail)
        return tree

    def _keep(self, how: How, tree: Regrown, size: int) -> None:
        """Tell how far it came, as long as nothing is known to be wrong."""
        if not self._findings.count and self._complaints.done() and not self._complaints.result():
            how.keep(Reached(frontier=tree.frontier, tally=self._tally, as_of=size))

    def _meet(self, seen: Examined, tree: Regrown) -> None:
        """Take in one range, in the order of the ledger."""
        for idx, detail in seen.breaks:
            self._findings.add(idx, Cause.ORDER, detail)
        for idx in seen.suspects:
            again = self._look(idx)
            if idx in seen.later:
                self._tally = self._tally.then(again.tally)
        for idx in seen.orphans:
            detail = f"rows of lookups name record {idx}, which is not there"
            self._findings.add(idx, Cause.PREDICTION, detail)
        self._blocks += seen.blocks
        for row in seen.told:
            self._state.apply(row.idx, row)
        self._tally = self._tally.then(seen.tally)
        places = range(0, len(seen.hashes), HASH_BYTES)
        tree.append([seen.hashes[at : at + HASH_BYTES] for at in places])
        if seen.breaks:
            tree.tear()

    def _look(self, idx: int) -> Again:
        again = examine_again(self._connection, idx)
        for cause, detail in again.wrong:
            self._findings.add(idx, cause, detail)
        return again

    def _look_at_blocks(self, size: int) -> None:
        """Judge columns when everything is known of their records: what those are not, these need not be."""
        for start, stop in self._blocks:
            if self._findings.first_at(start, stop) is None:
                for detail in auditing_blocks.wrong(self._connection, start, size):
                    self._findings.add(start, Cause.BLOCK, detail)
        for detail in auditing_blocks.strays(self._connection, size):
            self._findings.add(None, Cause.BLOCK, detail)

    def _strays(self, size: int) -> None:
        """Look for what the walk cannot meet: rows of no record, and records beyond the head or hidden by an index."""
        beyond = self._connection.scalars(_STRAY_RECORDS, {"size": size, "limit": _BEYOND}).all()
        for idx in beyond:
            self._findings.add(idx, Cause.ORDER, f"stands beyond the head, which ends at {size}")
        counted = files.counts(self._connection, ("record", "payload", "prediction"))
        if not beyond and counted["record"] != self._tally.records:
            detail = (
                f"{counted['record']} records are stored, and {self._tally.records} can be reached in order"
            )
            self._findings.add(None, Cause.ORDER, detail)
        if counted["payload"] != self._tally.payloads:
            strays = self._connection.scalars(_STRAY_PAYLOADS).one()
            detail = f"{counted['payload']} payloads are stored, not {self._tally.payloads}"
            self._findings.add(None, Cause.PAYLOAD, f"{detail}; {strays} of them belong to no record")
        if counted["prediction"] != self._tally.predictions:
            detail = f"{counted['prediction']} rows of lookups are stored, not {self._tally.predictions}"
            self._findings.add(None, Cause.PREDICTION, detail)
        for cause, detail in auditing_erasures.strays(self._connection, self._tally.erasures):
            self._findings.add(None, cause, detail)
        for cause, detail in auditing_derived.strays(self._connection, self._tally):
            self._findings.add(None, cause, detail)
        stray = self._connection.scalar(_STRAY_PREDICTION, {"size": size})
        if stray is not None:
            detail = f"rows of lookups name record {stray}, which is not there"
            self._findings.add(stray, Cause.PREDICTION, detail)

    def _verdict(self, about: _About, root: bytes) -> Verdict:
        return Verdict(
            origin=about.key.name,
            key_id=f"{about.key.name}+{about.key.id.hex()}",  # the key itself, in Base64, may have a plus
            size=about.size,
            since=about.since,
            root=root,
            records=self._tally.records,
            payloads=self._tally.payloads,
            predictions=self._tally.predictions,
            outcomes=self._tally.outcomes,
            erased=self._tally.erased,
            latest_us=self._tally.latest_us,
            notes=self._claims.notes,
            signed=self._claims.signed,
            anchored=self._claims.anchored,
            anchors=dict(self._claims.given),
            is_mac_checked=about.is_mac_checked,
            findings=self._findings.listed(),
            found=self._findings.count.total(),
        )
