"""Proofs out of what is stored: a record's receipt, the newest checkpoint, and that the ledger has only grown.

Tiles and leaves only ever grow, so several short reads agree with each other without a lock or a long transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Engine, select

from db import cosignatures, tiles
from db.engine import is_storable, reading
from db.erased import RecordErased, erasures_of
from db.lookups import RecordNotFound
from db.records import salts
from db.submissions import stated
from db.tables import head, payload, record
from db.tree import consistency_proof, from_tiles, inclusion_proof, leaf_hash, verify_inclusion


class NotProvable(LookupError):
    """No checkpoint covers it yet, or the ledger is not that large; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenRecord:
    """A record's leaf, the salts that open request and answer, and the way from the leaf up to a signed checkpoint."""

    index: int
    leaf: bytes
    salts: dict[str, bytes]
    hashes: tuple[bytes, ...]
    checkpoint: bytes


class Proofs:
    """Proves what stands in the ledger through an engine of `open_reader`; any number may run beside the pen.

    Every method raises StorageUnavailable when the database fails, and ProofRefused where it contradicts itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def receipt(self, record_id: UUID, client_id: str | None = None) -> ProvenRecord:
        """Prove one record under the newest checkpoint that a witness has cosigned, or under the newest.

        Raises:
            RecordNotFound: there is none, or, where `client_id` is given, it is another client's.
            NotProvable: it is so new that no checkpoint covers it.
            RecordErased: what would open request or answer is gone; a receipt that somebody kept still holds.
        """
        with reading(self._engine) as connection:
            index, leaf, secret = _find(connection, record_id, client_id)
            opened = {} if secret is None else salts(secret)
            if not opened.keys() >= {"input", "output"}:
                raise _gone(connection, record_id, index)
            signed = cosignatures.covering(connection, index)
            newest = stated(signed) if signed else None
            if newest is None or newest.size <= index:
                raise NotProvable("no checkpoint covers this record yet; ask again in a second")
            hashes = inclusion_proof(index, newest.size, from_tiles(tiles.reader(connection)))
        # A database that was changed behind our back gets an error into the log, its caller no false receipt.
        verify_inclusion(leaf_hash(leaf), index, newest.size, hashes, newest.root)
        return ProvenRecord(
            index=index,
            leaf=leaf,
            salts={name: opened[name] for name in ("input", "output")},
            hashes=tuple(hashes),
            checkpoint=signed,
        )

    def checkpoint(self) -> bytes:
        """Return the newest signed checkpoint, with its cosignatures; NotProvable where none was made yet."""
        with reading(self._engine) as connection:
            newest = cosignatures.newest(connection)
        if not newest:
            raise NotProvable("there is no checkpoint yet; ask again in a second")
        return newest

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """Prove that the first `newer` records begin with the first `older`; NotProvable beyond what there is."""
        with reading(self._engine) as connection:
            size: int = connection.execute(select(head.c.size)).scalar_one()
            if not 0 <= older <= newer <= size:
                raise NotProvable(f"the ledger has {size} records; choose from <= to <= {size}")
            return consistency_proof(older, newer, from_tiles(tiles.reader(connection)))


def _find(connection: Connection, record_id: UUID, client_id: str | None) -> tuple[int, bytes, bytes | None]:
    query = (
        select(record.c.idx, record.c.leaf, payload.c.secret)
        .outerjoin(payload, payload.c.record_id == record.c.id)
        .where(record.c.id == record_id)
    )
    if client_id is not None:
        query = query.where(record.c.client_id == (client_id if is_storable(client_id) else ""))
    found = connection.execute(query).one_or_none()
    if found is None:
        raise RecordNotFound(str(record_id))
    return found.idx, found.leaf, found.secret


def _gone(connection: Connection, record_id: UUID, index: int) -> LookupError:
    erasures = erasures_of(connection, index)
    return RecordErased(record_id, erasures) if erasures else RecordNotFound(str(record_id))
