"""The tree grown again from the leaves, and held against everything that claims to know it.

What was signed or sealed is a claim: so large, with this root. Claims come sorted by size and are met on the way, so
nothing is kept of the tree but its frontier. Stored tiles are compared with the hashes they should hold as these come
into being; only what goes beyond the ends of tiles is looked for afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from db import tiles
from db.auditing import Cause, Findings
from db.auditing_rows import raw
from db.tree import (
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Frontier,
    Growth,
    Node,
    ProofRefused,
    consistency_proof,
    from_tiles,
    verify_consistency,
)

_KEPT = 1000  # tiles that are wrong; who finds so many needs no more
_LEVELS_AT_MOST = 64 // TILE_HEIGHT
_TILE = text("SELECT hashes FROM tile WHERE level = :level AND idx = :idx")
_LEVELS = text("SELECT level, count(*) FROM tile GROUP BY level ORDER BY level")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That the first `size` leaves have this root; `cause` and `who` say who claims it."""

    size: int
    root: bytes
    cause: Cause
    who: str


class Regrown:
    """The tree over the leaves so far; once a record is out of order, only what stands before it can be compared."""

    def __init__(self, start: Frontier, claims: Iterator[Claim], findings: Findings, stored: Tiles) -> None:
        """Take claims in the order of their sizes, and what the tree is known to begin with."""
        self.frontier = start
        self._is_whole = True
        self._trusted = start.size  # the largest size at which the root was right
        self._refuted: set[str] = set()
        self._findings, self._claims = findings, claims
        self._tiles = stored
        self._next = next(claims, None)
        while self._next is not None and self._next.size < start.size:
            self._prove(self._next)
            self._advance()
        self._meet()

    def append(self, hashes: Sequence[bytes]) -> None:
        """Grow by these leaves, stopping at each size about which something is claimed."""
        start = 0
        while self._is_whole and start < len(hashes):
            end = len(hashes)
            if self._next is not None:
                end = min(end, start + self._next.size - self.frontier.size)
            growth = self.frontier.append(hashes[start:end])
            self._tiles.compare(growth)
            self.frontier, start = growth.after, end
            self._meet()

    def tear(self) -> None:
        """Stop growing: a record is missing or doubled here, and all that follows would lead anywhere."""
        self._is_whole = False

    def end(self, size: int) -> None:
        """Say which claims were about more than there is; `size` is where the head says that the ledger ends."""
        while self._next is not None:
            if self._is_whole or self._next.size > size:
                self._beyond(self._next, min(size, self.frontier.size))
            self._advance()
        self._tiles.end(is_whole=self._is_whole, is_blamed=not self._refuted)

    def _prove(self, claim: Claim) -> None:
        """Hold a claim about less than the tree began with against it: tiles that lie do not lead to both roots."""
        try:
            proof = consistency_proof(claim.size, self.frontier.size, self._tiles.nodes())
            verify_consistency(claim.size, self.frontier.size, proof, claim.root, self.frontier.root())
        except ProofRefused:
            if claim.cause not in self._refuted:
                self._refuted.add(claim.cause)
                self._refute(claim)

    def _meet(self) -> None:
        while self._next is not None and self._next.size == self.frontier.size:
            if self._next.root == self.frontier.root():
                self._trusted = self.frontier.size
            elif (
                self._next.cause not in self._refuted
            ):  # the first one says where; all after it are wrong as well
                self._refuted.add(self._next.cause)
                self._refute(self._next)
            self._advance()

    def _refute(self, claim: Claim) -> None:
        known = self._findings.first_at(self._trusted, claim.size)
        if known is None and self._trusted <= self._tiles.first_leaf < claim.size:
            known = self._tiles.first_leaf
        at = self._trusted if known is None else known
        cause = Cause.ANCHOR if claim.cause is Cause.ANCHOR else Cause.ROOT
        detail = f"the first {claim.size} records have another root than {claim.who} says"
        if known is None:
            detail += f": one of the records {self._trusted} to {max(claim.size - 1, 0)} was changed"
        self._findings.add(at, cause, detail)

    def _beyond(self, claim: Claim, size: int) -> None:
        detail = f"{claim.who} is of {claim.size} records, and only {size} are left"
        self._findings.add(size, claim.cause, detail)

    def _advance(self) -> None:
        self._next = next(self._claims, None)


class Tiles:
    """Stored tiles, one of each level in hand at a time.

    Where hashes and tiles differ, it is the roots that tell which of the two were changed: so nobody is blamed before
    the end. Until then a difference among leaves says where to look.
    """

    def __init__(self, connection: Connection, findings: Findings, size: int) -> None:
        self.first_leaf = -1  # that a tile has another hash of
        self._connection, self._findings, self._size = connection, findings, size
        self._held: dict[int, tuple[int, bytes | None]] = {}
        self._wrong: dict[tuple[int, int], tuple[int, str]] = {}

    def compare(self, growth: Growth) -> None:
        for span, hashes in growth.tiles():
            if self._width(span.level, span.index):
                stored = self._read(span.level, span.index)
                at = span.offset * HASH_BYTES
                if stored is not None and (found := stored[at : at + len(hashes)]) != hashes:
                    position = span.offset + _first_difference(found, hashes)
                    if span.level == 0 and self.first_leaf < 0:
                        self.first_leaf = span.index * TILE_WIDTH + position
                    self._note(span.level, span.index, position, "holds other hashes than the records give")

    def nodes(self) -> Node:
        """Return what reads nodes out of the tiles, believed or not."""
        return from_tiles(tiles.reader(self._connection))

    def end(self, *, is_whole: bool, is_blamed: bool) -> None:
        """Say what is wrong with the tiles, and count them: one that should not be there was never asked for."""
        for at, detail in self._wrong.values():
            self._findings.add(at if is_blamed else None, Cause.TILE, detail)
        if not is_whole:
            return
        stored = {level: int(count) for level, count in self._connection.execute(_LEVELS)}
        for level in sorted(stored.keys() | range(_LEVELS_AT_MOST)):
            count, expected = stored.get(level, 0), self._count(level)
            if count != expected:
                self._findings.add(
                    None, Cause.TILE, f"{count} tiles of level {level} are stored, not {expected}"
                )

    def _read(self, level: int, index: int) -> bytes | None:
        held = self._held.get(level)
        if held is None or held[0] != index:
            found: Any = self._connection.execute(_TILE, {"level": level, "idx": index}).scalar_one_or_none()
            stored = None if found is None else raw(found)
            self._held[level] = held = (index, stored)
            if stored is None:
                self._note(level, index, 0, "is missing")
            elif len(stored) != HASH_BYTES * self._width(level, index):
                self._note(level, index, 0, "does not end where it should")
        return held[1]

    def _note(self, level: int, index: int, position: int, detail: str) -> None:
        at = index * TILE_WIDTH + position << level * TILE_HEIGHT
        if len(self._wrong) < _KEPT:
            self._wrong.setdefault((level, index), (at, f"tile {index} of level {level} {detail}"))

    def _width(self, level: int, index: int) -> int:
        """Say how many hashes are to be stored of a tile: of leaves only full ones are, they can be hashed again."""
        width = min(TILE_WIDTH, max(0, (self._size >> level * TILE_HEIGHT) - index * TILE_WIDTH))
        return width if level or width == TILE_WIDTH else 0

    def _count(self, level: int) -> int:
        if level < 0 or level * TILE_HEIGHT >= 64:
            return 0
        nodes = self._size >> level * TILE_HEIGHT
        return -(-nodes // TILE_WIDTH) if level else nodes // TILE_WIDTH


def _first_difference(found: bytes, hashes: bytes) -> int:
    places = range(0, len(hashes), HASH_BYTES)
    return next(
        at // HASH_BYTES for at in places if found[at : at + HASH_BYTES] != hashes[at : at + HASH_BYTES]
    )
