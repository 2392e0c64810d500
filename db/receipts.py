"""Receipts as they leave the ledger: made after the commit, from what the append itself knows or from stored tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from db.records import Receipt
from db.sealing import LedgerForked, Seal
from db.tree import (
    Frontier,
    Growth,
    ProofRefused,
    ReadTile,
    from_tiles,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_inclusion,
)

Salts = Mapping[str, bytes]
_OPENED = ("input", "output")  # the caller's own request and answer; the actor and the rest stay closed


def of_growth(seal: Seal, growth: Growth, leaves: Sequence[bytes], salts: Sequence[Salts]) -> list[Receipt]:
    """Prove the leaves just appended, under one signature; their commit is durable."""
    places = range(growth.before.size, growth.after.size)
    rows = dict(zip(places, zip(leaves, salts, strict=True), strict=True))
    return list(of_paths(seal, growth.after, new_paths(growth), rows).values())


def new_paths(growth: Growth) -> dict[int, tuple[bytes, ...]]:
    """Find the way up of every new leaf at once, from the root down: neighbours share all but the first steps.

    Leaf by leaf, `inclusion_proof` gives the same and takes four times as long.
    """
    before, size, edges = growth.before.size, growth.after.size, _edges(growth.after)
    ways: dict[int, tuple[bytes, ...]] = {0: ()}
    for level in reversed(range((size - 1).bit_length() if size else 0)):
        above, ways = ways, {}
        for index in range(before >> level, (size - 1 >> level) + 1):
            sibling = index ^ 1
            if sibling << level >= size:  # at the right edge a node has no sibling and moves up as it is
                ways[index] = above[index >> 1]
            else:
                is_whole = (sibling + 1) << level <= size
                step = growth.node(level, sibling) if is_whole else edges[level]
                ways[index] = (step, *above[index >> 1])
    return ways


def _edges(frontier: Frontier) -> list[bytes]:
    """Join, for each level, the leaves behind its last whole subtree; empty where there are none."""
    edges = []
    joined = b""
    for level in range(frontier.size.bit_length()):
        edges.append(joined)
        if frontier.size >> level & 1:
            peak = frontier.peak(level)
            joined = node_hash(peak, joined) if joined else peak
    return edges


def of_paths(
    seal: Seal,
    frontier: Frontier,
    paths: Mapping[int, Sequence[bytes]],
    rows: Mapping[int, tuple[bytes, Salts]],
) -> dict[int, Receipt]:
    """Make the receipts of these places from (leaf, salts) and the way up to a head that is durable."""
    size, root = frontier.size, frontier.root()
    signature, key_id = seal.signature(size, root), seal.key_id
    return {
        place: Receipt(
            index=place,
            leaf=leaf,
            salts={name: salts[name] for name in _OPENED},
            size=size,
            root=root,
            hashes=tuple(paths[place]),
            signature=signature,
            key_id=key_id,
        )
        for place, (leaf, salts) in rows.items()
    }


def paths(read: ReadTile, frontier: Frontier, leaves: Mapping[int, bytes]) -> dict[int, list[bytes]]:
    """Find the way from stored leaves up to the head, in stored tiles, and walk it before anybody is given it.

    Raises:
        LedgerForked: a leaf or a tile is not what the head was made of.
    """
    found: dict[int, list[bytes]] = {}
    for place, leaf in leaves.items():
        try:
            found[place] = inclusion_proof(place, frontier.size, from_tiles(read))
            verify_inclusion(leaf_hash(leaf), place, frontier.size, found[place], frontier.root())
        except ProofRefused as refused:
            raise LedgerForked(f"record {place} does not lead to the head: {refused}") from refused
    return found
