"""Leaves, their slow tree, and every way to spoil a proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from db.tree import Frontier, leaf_hash
from tests.vectors.slow import Slow

STRANGE = bytes(range(32))
DECIMAL = Slow([str(number).encode() for number in range(5001)])
HASHES = [leaf_hash(leaf) for leaf in DECIMAL.leaves]


def frontier_of(size: int) -> Frontier:
    return Frontier().append(HASHES[:size]).after


def spoil(proof: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Make every proof that differs by one hash changed, missing, added, or exchanged with its neighbour."""
    for at, hashed in enumerate(proof):
        yield [*proof[:at], bytes([hashed[0] ^ 1]) + hashed[1:], *proof[at + 1 :]]
    for at in range(len(proof) - 1):
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]
    if proof:
        yield proof[1:]
        yield proof[:-1]
        yield [proof[0], *proof]
        yield [*proof, proof[-1]]
        yield [proof[0][:-1], *proof[1:]]
        yield [*proof[:-1], proof[-1] + b"\0"]
    yield [*proof, STRANGE]
    yield [STRANGE, *proof]


def some_of(spoilt: Sequence[Sequence[bytes]], a: int, b: int) -> Sequence[Sequence[bytes]]:
    """Take all of them for one pair in seven and for small ones, else one in turn: time is short."""
    at = (a + b) % len(spoilt)
    return spoilt if b <= 40 or a % 7 == b % 7 else spoilt[at : at + 1]
