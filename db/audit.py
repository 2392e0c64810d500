"""The audit: everything in the database derived again from the leaves, and held against what stands outside of it.

Reads only, one moment of the database, range by range, in memory that does not grow with the ledger (anchors given to
it are held). The key comes from outside: a key out of the database would vouch for whoever wrote the database. Only
pure files are shared with the writer, and no column, tile, frontier or root is believed that was not computed here.

Compared: the order and number of records; every leaf with its columns, its payload and the rows of lookups; the root
with the head, every stored note and every anchor; the head's mac, where its key is given; all tiles; what is gone with
the records of erasures; clients, versions, aliases and holds with the recorded changes (db/auditing_state.py says what
no record knows); the keys of requests with their records.

auditing_pool.py    ranges of records, given to several processes
auditing_ranges.py  one range: what is asked of each record by itself
auditing_quick.py   is this record as it must be, yes or no; auditing_rows.py says what is wrong with one that is not
auditing_tree.py    the tree grown again, and the claims about it, which auditing_claims.py opens

Source: RFC 9162 section 2.1; C2SP tlog-checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge

from sqlalchemy import Connection, Engine, text

from db import auditing_erasures, auditing_keys, auditing_witnesses
from db import auditing_head as head
from db import auditing_pool as pool
from db.auditing import Anchor, Cause, Findings, Tally, Verdict
from db.auditing_claims import Claims
from db.auditing_epochs import Epochs
from db.auditing_ranges import Examined, examine_again
from db.auditing_state import State
from db.auditing_tree import Regrown
from db.engine import reading
from db.notes import VerifierKey
from db.tree import HASH_BYTES, Frontier

_BEYOND = 20  # records beyond the head that are named
_STRAY_RECORDS = text("SELECT idx FROM record WHERE idx < 0 OR idx >= :size ORDER BY idx LIMIT :limit")
_STRAY_PREDICTION = text("SELECT idx FROM prediction WHERE idx < 0 OR idx >= :size ORDER BY idx LIMIT 1")
_STRAY_PAYLOADS = text(
    "SELECT count(*) FROM payload p WHERE NOT EXISTS (SELECT 1 FROM record r WHERE r.id = p.record_id)"
)
_COUNTS = {name: text(f"SELECT count(*) FROM {name}") for name in ("record", "payload")}  # noqa: S608  # our names
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to go about an audit; none of it changes the verdict."""

    processes: int = 1
    progress: Progress = lambda _done, _size: None


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
    with _moment(engine) as connection:
        findings = Findings()
        epochs = Epochs(connection, key)
        claims = Claims(epochs, findings, anchors)
        verdict = _Audit(engine, connection, claims, findings).run(key, mac_key, how or How())
        return auditing_witnesses.witnessed(epochs.told(verdict), connection, key, witnesses)


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

    def __init__(self, engine: Engine, connection: Connection, claims: Claims, findings: Findings) -> None:
        self._engine, self._connection = engine, connection
        self._claims, self._findings = claims, findings
        self._state, self._tally = State(), Tally()

    def run(self, key: VerifierKey, mac_key: bytes | None, how: How) -> Verdict:
        """Walk from the first record to the last, then look at what is only known at the end."""
        heads = head.read(self._connection)
        size = head.size(heads)
        claims = merge(
            self._claims.outside(),
            self._claims.stored(self._connection, size),
            key=lambda claim: claim.size,
        )
        tree = Regrown(self._connection, claims, self._findings, size)
        for seen in pool.examined(self._engine, self._connection, 0, size, how.processes):
            self._meet(seen, tree)
            how.progress(seen.stop, size)
        tree.end(size)
        self._strays(size)
        for difference in head.differences(heads, key.name, self._tally, tree.frontier):
            self._findings.add(None, Cause.HEAD, difference)
        if mac_key is not None and not head.is_sealed(heads, mac_key):
            self._findings.add(None, Cause.HEAD, "its mac was not made with the key of this ledger")
        self._state.compare(self._connection, self._findings)
        for idx, detail in auditing_keys.differences(self._connection, size):
            self._findings.add(idx, Cause.STATE, detail)
        return self._verdict(key, tree.frontier, size, is_mac_checked=mac_key is not None)

    def _meet(self, seen: Examined, tree: Regrown) -> None:
        """Take in one range, in the order of the ledger."""
        for idx, detail in seen.breaks:
            self._findings.add(idx, Cause.ORDER, detail)
        for idx in seen.suspects:
            self._suspect(idx, is_counted=idx not in seen.later)
        for idx in seen.orphans:
            detail = f"rows of lookups name record {idx}, which is not there"
            self._findings.add(idx, Cause.PREDICTION, detail)
        for row in seen.told:
            self._state.apply(row.idx, row)
        self._tally = self._tally.then(seen.tally)
        places = range(0, len(seen.hashes), HASH_BYTES)
        tree.append([seen.hashes[at : at + HASH_BYTES] for at in places])
        if seen.breaks:
            tree.tear()

    def _suspect(self, idx: int, *, is_counted: bool) -> None:
        again = examine_again(self._connection, idx)
        for cause, detail in again.wrong:
            self._findings.add(idx, cause, detail)
        if not is_counted:
            self._tally = self._tally.then(again.tally)

    def _strays(self, size: int) -> None:
        """Look for what the walk cannot meet: rows of no record, and records beyond the head or hidden by an index."""
        beyond = self._connection.scalars(_STRAY_RECORDS, {"size": size, "limit": _BEYOND}).all()
        for idx in beyond:
            self._findings.add(idx, Cause.ORDER, f"stands beyond the head, which ends at {size}")
        counted = {name: self._connection.scalars(query).one() for name, query in _COUNTS.items()}
        if not beyond and counted["record"] != self._tally.records:
            detail = (
                f"{counted['record']} records are stored, and {self._tally.records} can be reached in order"
            )
            self._findings.add(None, Cause.ORDER, detail)
        if counted["payload"] != self._tally.payloads:
            strays = self._connection.scalars(_STRAY_PAYLOADS).one()
            detail = f"{counted['payload']} payloads are stored, not {self._tally.payloads}"
            self._findings.add(None, Cause.PAYLOAD, f"{detail}; {strays} of them belong to no record")
        for cause, detail in auditing_erasures.strays(self._connection, self._tally.erasures):
            self._findings.add(None, cause, detail)
        stray = self._connection.scalar(_STRAY_PREDICTION, {"size": size})
        if stray is not None:
            detail = f"rows of lookups name record {stray}, which is not there"
            self._findings.add(stray, Cause.PREDICTION, detail)

    def _verdict(self, key: VerifierKey, frontier: Frontier, size: int, *, is_mac_checked: bool) -> Verdict:
        return Verdict(
            origin=key.name,
            key_id=f"{key.name}+{key.id.hex()}",  # the key itself, in Base64, may have a plus
            size=size,
            root=frontier.root(),
            records=self._tally.records,
            payloads=self._tally.payloads,
            predictions=self._tally.predictions,
            erased=self._tally.erased,
            latest_us=self._tally.latest_us,
            notes=self._claims.notes,
            signed=self._claims.signed,
            anchored=self._claims.anchored,
            anchors=dict(self._claims.given),
            is_mac_checked=is_mac_checked,
            findings=self._findings.listed(),
            found=self._findings.count.total(),
        )
