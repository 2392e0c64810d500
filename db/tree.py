"""The Merkle tree over the leaves: it grows, proves and is verified without ever being held whole.

Standard library only: writer and verifier share this file. It knows neither records nor databases; hashes that are
needed again come from a caller's function, and `from_tiles` makes such a function of stored 256-wide tiles.

Source: RFC 6962 section 2.1 and RFC 9162 section 2.1 (the same tree); C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()  # RFC 9162 section 2.1.1: the hash of nothing, not even of a prefix
MAX_SIZE = 2**63 - 1  # what BIGINT holds; no proof is then longer than 63 hashes
TILE_HEIGHT, TILE_WIDTH = 8, 2**8
_LEAF, _NODE = b"\x00", b"\x01"
_SIZE_BYTES = 8

# (level, index): the hash of perfect subtree number `index` of 2**level leaves
Node = Callable[[int, int], bytes]
# (tile level, tile index): the hashes of that tile, as many as there are
ReadTile = Callable[[int, int], bytes]


class FrontierRefused(Exception):
    """What was to be a frontier, or to extend one, cannot be: wrong lengths or an impossible size."""


class ProofRefused(Exception):
    """A proof does not hold, or one was asked for that does not exist; the message says why."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf so that it can never pass for an inner node, whatever its bytes. Source: RFC 9162 section 2.1.1."""
    return sha256(_LEAF + leaf).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """Hash a group of leaves: the calls saved are a third of the time."""
    return [sha256(_LEAF + leaf).digest() for leaf in leaves]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours into their parent; their order counts. Source: RFC 9162 section 2.1.1."""
    return sha256(_NODE + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """All a tree needs to grow: its size and, largest first, the root of a perfect subtree for each of its 1 bits."""

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise FrontierRefused(f"a tree has 0 to 2**63 - 1 leaves, not {self.size}")
        if len(self.roots) != self.size.bit_count() or any(len(root) != HASH_BYTES for root in self.roots):
            raise FrontierRefused(f"{self.size} leaves have {self.size.bit_count()} roots of 32 bytes")

    @classmethod
    def from_bytes(cls, data: bytes) -> Frontier:
        """Read what `to_bytes` wrote; a byte too many or too few for its size raises FrontierRefused."""
        size = int.from_bytes(data[:_SIZE_BYTES])
        if len(data) != _SIZE_BYTES + HASH_BYTES * size.bit_count():
            raise FrontierRefused(f"a frontier of {size} leaves cannot have {len(data)} bytes")
        return cls(size=size, roots=tuple(_split(data[_SIZE_BYTES:])))

    def to_bytes(self) -> bytes:
        """Write 8 bytes of size, big-endian, then the roots: one spelling for every frontier."""
        return self.size.to_bytes(_SIZE_BYTES) + b"".join(self.roots)

    def root(self) -> bytes:
        """Compute the root of the whole tree, `EMPTY_ROOT` without leaves. Source: RFC 9162 section 2.1.2."""
        return _join(self.roots) if self.roots else EMPTY_ROOT

    def peak(self, level: int) -> bytes:
        """Return the root of the perfect subtree of 2**level leaves; the size must have that bit set."""
        return self.roots[(self.size >> level + 1).bit_count()]

    def append(self, leaf_hashes: Sequence[bytes]) -> Growth:
        """Grow by a whole group at one inner hash a leaf; FrontierRefused for what is no hash or makes it too large."""
        if set(map(len, leaf_hashes)) - {HASH_BYTES}:
            raise FrontierRefused("every leaf hash has 32 bytes; hash the leaves with leaf_hash first")
        completed: list[tuple[bytes, ...]] = []
        nodes = list(leaf_hashes)
        while nodes:
            level = len(completed)
            completed.append(tuple(nodes))
            if self.size >> level & 1:
                nodes.insert(0, self.peak(level))
            nodes = _parents(nodes)
        return Growth(before=self, after=self._grown(completed), completed=tuple(completed))

    def _grown(self, completed: Sequence[Sequence[bytes]]) -> Frontier:
        size = self.size + (len(completed[0]) if completed else 0)
        levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
        # A subtree completed now stands to the right of whatever stood at its level before.
        roots = (completed[level][-1] if level < len(completed) else self.peak(level) for level in levels)
        return Frontier(size=size, roots=tuple(roots))


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSpan:
    """`width` neighbouring hashes of one tile, from `offset` on; tile level l holds subtrees of 256**l leaves."""

    level: int
    index: int
    offset: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one append changed; `completed[level]` are hashes of new subtrees, from index `before.size >> level` on."""

    before: Frontier
    after: Frontier
    completed: tuple[tuple[bytes, ...], ...]

    def node(self, level: int, index: int) -> bytes:
        """Answer, without anything stored, for what inclusion proofs of the new leaves at the new size ask for.

        To their left such proofs meet only roots of the old frontier, and so does the consistency proof from the old
        size to the new. Every other node raises ProofRefused: it is in the tiles.
        """
        start = self.before.size >> level
        if index == start - 1 and start & 1:
            return self.before.peak(level)
        if level < len(self.completed) and 0 <= index - start < len(self.completed[level]):
            return self.completed[level][index - start]
        raise ProofRefused(f"node {index} of level {level} is not among those this append touched")

    def tiles(self) -> Iterator[tuple[TileSpan, bytes]]:
        """Cut what is to be stored into pieces, each to be put behind the `offset` hashes its tile has so far.

        A tile whose offset and width add up to 256 is full and never changes again. Source: C2SP tlog-tiles.
        """
        for level, hashes in enumerate(self.completed[::TILE_HEIGHT]):
            start = self.before.size >> level * TILE_HEIGHT
            done = 0
            while done < len(hashes):
                tile, offset = divmod(start + done, TILE_WIDTH)
                piece = hashes[done : done + TILE_WIDTH - offset]
                yield TileSpan(level=level, index=tile, offset=offset, width=len(piece)), b"".join(piece)
                done += len(piece)


def locate(level: int, index: int) -> TileSpan:
    """Find the tile that holds a node (width 1), or the hashes of one tile from which it is hashed up."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    tile, offset = divmod(index << height, TILE_WIDTH)
    return TileSpan(level=tile_level, index=tile, offset=offset, width=1 << height)


def from_tiles(read: ReadTile) -> Node:
    """Make a source of nodes out of stored tiles; it raises ProofRefused where a tile is too short for the node."""

    def node(level: int, index: int) -> bytes:
        span = locate(level, index)
        start, end = span.offset * HASH_BYTES, (span.offset + span.width) * HASH_BYTES
        piece = read(span.level, span.index)[start:end]
        if len(piece) != end - start:
            raise ProofRefused(
                f"tile {span.index} of level {span.level} is too short for node {index} of level {level}"
            )
        nodes = _split(piece)
        while len(nodes) > 1:
            nodes = _parents(nodes)
        return nodes[0]

    return node


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Prove a leaf, siblings from the leaf up; a larger tree's `node` will do. Source: RFC 9162 section 2.1.3.1."""
    _check_leaf(index, size)
    return list(_path(0, index, size, node))


def consistency_proof(m: int, n: int, node: Node) -> list[bytes]:
    """Prove that `n` leaves begin with those `m`; 0 and n need no hash. Source: RFC 9162 section 2.1.4.1."""
    _check_sizes(m, n)
    if m in (0, n):
        return []
    level = _zeros(m)
    index = (m >> level) - 1  # the last perfect subtree of the older tree: the path goes up from there
    known = [node(level, index)] if index else []  # the only one is the older root, which the verifier has
    return known + list(_path(level, index, n, node))


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return only when the leaf stands at `index` under `root`; size and root belong to one signed checkpoint.

    Hash the leaf yourself: an inner node's hash, taken for a leaf's, can be proven under a smaller size. Everything
    else raises ProofRefused, a hash too many, too few or of a wrong length too. Source: RFC 9162 section 2.1.3.2.
    """
    _check_leaf(index, size)
    lefts = list(_lefts(index, size - 1))
    _check_hashes(proof, len(lefts), leaf_hash, root)
    hashed = leaf_hash
    for sibling, is_left in zip(proof, lefts, strict=True):
        hashed = node_hash(sibling, hashed) if is_left else node_hash(hashed, sibling)
    if hashed != root:
        raise ProofRefused(f"leaf {index} of {size} leads to another root")


def verify_consistency(m: int, n: int, proof: Sequence[bytes], root_m: bytes, root_n: bytes) -> None:
    """Return only when the first `m` leaves under `root_n` are those under `root_m`; anything begins with none.

    Everything else raises ProofRefused. Source: RFC 9162 section 2.1.4.2.
    """
    _check_sizes(m, n)
    if m in (0, n):
        _check_hashes(proof, 0, root_m, root_n)
        if (m == 0 and root_m != EMPTY_ROOT) or (m == n and root_m != root_n):
            raise ProofRefused(f"{m} leaves have another root than this")
        return
    level = _zeros(m)
    lefts = list(_lefts((m - 1) >> level, (n - 1) >> level))
    is_perfect = m == 1 << level
    _check_hashes(proof, len(lefts) + (not is_perfect), root_m, root_n)
    first, *siblings = [root_m, *proof] if is_perfect else proof
    older = newer = first
    for sibling, is_left in zip(siblings, lefts, strict=True):
        older = node_hash(sibling, older) if is_left else older
        newer = node_hash(sibling, newer) if is_left else node_hash(newer, sibling)
    if (older, newer) != (root_m, root_n):
        raise ProofRefused(f"{n} leaves do not begin with those {m}: the proof leads to other roots")


def _check_leaf(index: int, size: int) -> None:
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofRefused(f"a tree of {size} leaves has no leaf {index}")


def _check_sizes(m: int, n: int) -> None:
    if not 0 <= m <= n <= MAX_SIZE:
        raise ProofRefused(f"a tree of {n} leaves cannot begin with {m}")


def _check_hashes(proof: Sequence[bytes], expected: int, *others: bytes) -> None:
    if len(proof) != expected:  # before anything is hashed: a proof of a million hashes costs nothing
        raise ProofRefused(f"the proof has {len(proof)} hashes where {expected} belong")
    if any(len(hashed) != HASH_BYTES for hashed in (*proof, *others)):
        raise ProofRefused("a hash has 32 bytes, and one of these has not")


def _lefts(index: int, last: int) -> Iterator[bool]:
    # RFC 9162 section 2.1.3.2 with fn = index, sn = last: which hashes of a proof stand to the left of the path.
    while last:
        yield (is_left := bool(index & 1) or index == last)
        while is_left and index and not index & 1:  # no sibling at the right edge: the node moves up as it is
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1


def _path(level: int, index: int, size: int, node: Node) -> Iterator[bytes]:
    # The siblings on the way from a perfect subtree up to the root of `size` leaves.
    while (size - 1) >> level:
        start = (index ^ 1) << level
        if start < size:  # else this is the right edge, where a node has no sibling
            yield _subtree(start, min(start + (1 << level), size), node)
        level, index = level + 1, index >> 1


def _subtree(start: int, end: int, node: Node) -> bytes:
    # The root of leaves start..end-1; start is a multiple of a power of two that is no smaller than their number.
    peaks: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return _join(tuple(peaks))


@lru_cache(64)  # an append asks for the root of one frontier three times
def _join(peaks: tuple[bytes, ...]) -> bytes:
    # Largest first, joined from the right: RFC 9162 section 2.1.1 splits off the largest power of two.
    *larger, joined = peaks
    for peak in reversed(larger):
        joined = node_hash(peak, joined)
    return joined


def _parents(nodes: Sequence[bytes]) -> list[bytes]:
    # An odd one at the end waits for its sibling.
    return [sha256(_NODE + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=False)]


def _split(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _zeros(number: int) -> int:
    return (number & -number).bit_length() - 1
