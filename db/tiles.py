"""The hashes of the tree as they are stored: 256 in a row, so that a proof reads a few rows and no leaves.

What is stored: on level 0 full tiles only, for the hashes of the last few leaves are made from the leaves themselves;
above, every tile as far as it goes. All of it can be computed from the leaves again.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select, update

from db.sealing import LedgerForked
from db.tables import record, tile
from db.tree import (
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Frontier,
    FrontierRefused,
    Growth,
    ProofRefused,
    ReadTile,
    TileSpan,
    consistency_proof,
    from_tiles,
    leaf_hashes,
    verify_consistency,
)

# Built once: to build a statement takes as long as to run it.
_THIS = (tile.c.level == bindparam("at_level"), tile.c.idx == bindparam("at_idx"))
_READ = select(tile.c.hashes).where(*_THIS)
_ADD = insert(tile)
_REPLACE = update(tile).where(*_THIS)
_LEAVES = (
    select(record.c.leaf)
    .where(record.c.idx.between(bindparam("first"), bindparam("last")))
    .order_by(record.c.idx)
)


def reader(connection: Connection) -> ReadTile:
    """Return what reads tiles over this connection, each at most once; what is not there is empty."""
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        if (level, index) not in known:
            known[level, index] = _stored(connection, level, index)
            if not level and not known[level, index]:
                known[level, index] = _hashed(connection, index)
        return known[level, index]

    return read


def store(connection: Connection, growth: Growth) -> None:
    """Store what an append completed; its records are inserted already.

    Raises:
        LedgerForked: what is stored so far is not what this tree grew from.
    """
    for span, piece in growth.tiles():
        is_full = span.offset + span.width == TILE_WIDTH
        if span.level == 0 and not is_full:
            continue
        whole = _before(connection, span) + piece
        if len(whole) != (span.offset + span.width) * HASH_BYTES:
            raise LedgerForked(f"tile {span.index} of level {span.level} is not as long as the tree is")
        if is_full:
            _check(whole, span, growth)
        if span.level and span.offset:
            row = {"at_level": span.level, "at_idx": span.index, "hashes": whole}
            connection.execute(_REPLACE, row)
        else:
            connection.execute(_ADD, {"level": span.level, "idx": span.index, "hashes": whole})


def frontier(connection: Connection, size: int) -> Frontier:
    """Read what the tree was when it had `size` leaves; check_growth proves it. Raises LedgerForked."""
    node = from_tiles(reader(connection))
    levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
    try:
        return Frontier(size=size, roots=tuple(node(level, (size >> level) - 1) for level in levels))
    except (ProofRefused, FrontierRefused) as refused:
        raise LedgerForked(f"the first {size} records have no tree: {refused}") from refused


def check_growth(connection: Connection, older: Frontier, newer: Frontier) -> None:
    """Raise LedgerForked unless what is stored proves that the newer tree begins with the older one."""
    try:
        proof = consistency_proof(older.size, newer.size, from_tiles(reader(connection)))
        verify_consistency(older.size, newer.size, proof, older.root(), newer.root())
    except ProofRefused as refused:
        raise LedgerForked(f"the ledger did not grow from {older.size} records: {refused}") from refused


def _before(connection: Connection, span: TileSpan) -> bytes:
    """Return the hashes of this tile from before the append."""
    if not span.offset:
        return b""
    if span.level:
        return _stored(connection, span.level, span.index)
    return _hashed(connection, span.index)[: span.offset * HASH_BYTES]


def _check(whole: bytes, span: TileSpan, growth: Growth) -> None:
    """Compare a tile that is full with the hash that the frontier made without it: edited leaves show here."""
    level = (span.level + 1) * TILE_HEIGHT
    hashes = [whole[at : at + HASH_BYTES] for at in range(0, len(whole), HASH_BYTES)]
    if Frontier().append(hashes).after.root() != growth.node(level, span.index):
        raise LedgerForked(f"what is stored under tile {span.index} of level {span.level} was changed")


def _stored(connection: Connection, level: int, index: int) -> bytes:
    return bytes(connection.scalar(_READ, {"at_level": level, "at_idx": index}) or b"")


def _hashed(connection: Connection, index: int) -> bytes:
    start = index * TILE_WIDTH
    leaves = connection.scalars(_LEAVES, {"first": start, "last": start + TILE_WIDTH - 1})
    return b"".join(leaf_hashes(leaves))
