"""One checkpoint that was kept outside, held against the database in a few short reads: what a start can afford.

It reads stored tiles, which a whole audit does not believe; a proof made of false ones does not lead to both roots.
"""

from __future__ import annotations

from sqlalchemy import Engine

from db import heads, tiles
from db.engine import reading
from db.notes import Checkpoint
from db.tree import ProofRefused, consistency_proof, from_tiles, verify_consistency


class Contradicted(Exception):
    """The database is older than the checkpoint, or has another history; the message says which, with both sizes."""


class Behind(Contradicted):
    """The database is older than the checkpoint."""


def check(engine: Engine, anchored: Checkpoint) -> None:
    """Return only when the head has grown from this checkpoint; whether to believe either is not asked here.

    Raises:
        Contradicted: it has not.
        StorageUnavailable: the database failed.
    """
    with reading(engine) as connection:
        head = heads.look(connection)
        if head.size < anchored.size:
            raise Behind(
                f"knows {anchored.size} records, and the database has only {head.size}: it was rolled back"
            )
        try:
            proof = consistency_proof(anchored.size, head.size, from_tiles(tiles.reader(connection)))
            verify_consistency(anchored.size, head.size, proof, anchored.root, head.root)
        except ProofRefused as refused:
            raise Behind(
                f"knows another history of the first {anchored.size} of {head.size} records ({refused})"
            ) from refused
