"""Keys of requests: whoever sends the same request again gets its first answer again, and never makes a second record.

A key is written in the transaction of its record, so after a crash there is either neither or both. What is kept of it
are keyed hashes, and where its record stands; the answer is the record's own bytes. The same hashes stand in the
record's meta, where its leaf commits to them: verification compares the two. A key is forgotten when its time is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hmac import digest as hmac
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select

from db import heads, receipts, tiles
from db.records import Receipt, Record, RequestKey, salts
from db.sealing import Seal
from db.tables import idempotency, payload, record

LIFETIME_US = 24 * 3600 * 1_000_000  # published in the contract
_OPENED = {"input", "output"}  # without the salts of both there is no receipt
_KEY = idempotency.c.key


class KeyTaken(Exception):
    """These records were to be appended under keys that have an answer already; nothing of their group was."""

    def __init__(self, records: Iterable[UUID]) -> None:
        super().__init__("a request with this key is on record already")
        self.records = frozenset(records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The answer that a key has, and what its receipt is made from; `salts` lack what was erased."""

    id: UUID
    fingerprint: bytes
    place: int
    size: int  # of the ledger, when the record had just been appended
    status: int
    leaf: bytes
    output: bytes
    salts: Mapping[str, bytes]

    @property
    def is_whole(self) -> bool:
        """Say whether request and answer are still there."""
        return self.salts.keys() >= _OPENED


def request_key(secret: bytes, named: Iterable[str], body: bytes, now_us: int) -> RequestKey:
    """Hash what names a request and what is in it, under a key that is not in the database; `body` is a digest."""
    own = hmac(secret, b"idempotency/v1", "sha256")
    hashed = hmac(own, b"key\0" + "\0".join(named).encode("utf-8", "surrogatepass"), "sha256")
    return RequestKey(
        hash=hashed,
        fingerprint=hmac(own, b"body\0" + hashed + body, "sha256"),
        expires_at_us=now_us + LIFETIME_US,
    )


def put(connection: Connection, places: range, records: Sequence[Record]) -> None:
    """Store the keys of records that were just given these places, under the lock on `head`.

    Raises:
        KeyTaken: a key of theirs has an answer that is still kept.
    """
    keyed = [(place, each, each.key) for place, each in zip(places, records, strict=True) if each.key]
    if not keyed:
        return
    hashes = [key.hash for _, _, key in keyed]
    now_us = min(each.observed_at_us for _, each, _ in keyed)
    connection.execute(delete(idempotency).where(_KEY.in_(hashes), idempotency.c.expires_at_us <= now_us))
    seen = set(connection.scalars(select(_KEY).where(_KEY.in_(hashes))))
    taken = []
    for _, each, key in keyed:
        if key.hash in seen:
            taken.append(each.id)
        seen.add(key.hash)
    if taken:
        raise KeyTaken(taken)
    rows = [
        {
            "key": key.hash,
            "fingerprint": key.fingerprint,
            "record_idx": place,
            "size": places.stop,
            "expires_at_us": key.expires_at_us,
        }
        for place, _, key in keyed
    ]
    connection.execute(insert(idempotency), rows)


def find(connection: Connection, hashed: bytes, now_us: int) -> Stored | None:
    """Find the answer that this key has; None where it has none, or its time is over."""
    columns = (idempotency, record.c.id, record.c.status, record.c.leaf, payload.c.output, payload.c.secret)
    query = (
        select(*columns)
        .join(record, record.c.idx == idempotency.c.record_idx)
        .outerjoin(payload, payload.c.record_id == record.c.id)
    )
    row = connection.execute(
        query.where(_KEY.in_([hashed]), idempotency.c.expires_at_us > now_us)
    ).one_or_none()
    if row is None:
        return None
    return Stored(
        id=row.id,
        fingerprint=row.fingerprint,
        place=row.record_idx,
        size=row.size,
        status=row.status,
        leaf=row.leaf,
        output=row.output or b"",
        salts={} if row.secret is None else salts(row.secret),
    )


def receipt(connection: Connection, seal: Seal, stored: Stored) -> Receipt:
    """Make again the receipt that was given with the answer, byte for byte.

    Nothing is signed but what the sealed head proves to be its own beginning.

    Raises:
        LedgerForked: what is stored does not lead to the head.
    """
    older = tiles.frontier(connection, stored.size)
    tiles.check_growth(connection, older, seal.open(heads.look(connection)))
    paths = receipts.paths(tiles.reader(connection), older, {stored.place: stored.leaf})
    return receipts.of_paths(seal, older, paths, {stored.place: (stored.leaf, stored.salts)})[stored.place]


def purge(connection: Connection, now_us: int, limit: int) -> int:
    """Forget keys whose time is over, a batch of them; say how many there were."""
    over = select(_KEY).where(idempotency.c.expires_at_us <= now_us).limit(limit)
    return connection.execute(delete(idempotency).where(_KEY.in_(over))).rowcount
