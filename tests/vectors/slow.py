"""The Merkle tree of RFC 6962 section 2.1 written down as it stands there: recursive, slow, sharing nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256


class Slow:
    """One list of leaves, D[0:n] of the RFC for every n; ranges are given as start and end."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.mth = cache(self._mth)

    def _mth(self, start: int, end: int) -> bytes:
        if end == start:
            return sha256(b"").digest()
        if end - start == 1:
            return sha256(b"\x00" + self.leaves[start]).digest()
        k = _split(end - start)
        return sha256(b"\x01" + self.mth(start, start + k) + self.mth(start + k, end)).digest()

    def path(self, m: int, start: int, end: int) -> list[bytes]:
        """PATH(m, D[start:end]) of section 2.1.1."""
        if end - start == 1:
            return []
        k = _split(end - start)
        if m < k:
            return [*self.path(m, start, start + k), self.mth(start + k, end)]
        return [*self.path(m - k, start + k, end), self.mth(start, start + k)]

    def proof(self, m: int, start: int, end: int, *, is_known: bool = True) -> list[bytes]:
        """SUBPROOF(m, D[start:end], is_known) of section 2.1.2; with the default, PROOF."""
        if m == end - start:
            return [] if is_known else [self.mth(start, end)]
        k = _split(end - start)
        if m <= k:
            return [*self.proof(m, start, start + k, is_known=is_known), self.mth(start + k, end)]
        return [*self.proof(m - k, start + k, end, is_known=False), self.mth(start, start + k)]

    def node(self, size: int) -> Callable[[int, int], bytes]:
        """Answer for perfect subtrees; one that is not complete at this size must not be asked for."""

        def node(level: int, index: int) -> bytes:
            assert (index + 1) << level <= size
            return self.mth(index << level, (index + 1) << level)

        return node


def climb(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Compute the root that a path leads to, by the definition of PATH alone; takes the hashes it uses off the end."""
    if size == 1:
        return leaf
    k, sibling = _split(size), path.pop()
    if index < k:
        return sha256(b"\x01" + climb(index, k, leaf, path) + sibling).digest()
    return sha256(b"\x01" + sibling + climb(index - k, size - k, leaf, path)).digest()


def _split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k
