"""A receipt as a picture: the leaf at the bottom, what is hashed with it on each level, the signed root on top.

What is drawn is computed here, from the receipt alone, and held against the root that the checkpoint signs.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from db.notes import Checkpoint, Proof
from db.tree import ProofRefused, leaf_hash, node_hash, verify_inclusion

STEP, WIDTH, BOX, HEIGHT = 62, 420, 124, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One node of the path with its sibling; `y` is where it is drawn."""

    node: str
    sibling: str | None
    is_left: bool
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The path from a leaf to a root; `leads` says whether it is the root that was signed."""

    index: int
    size: int
    root: str
    leads: bool
    levels: list[Level]
    height: int
    note: str


def picture(receipt: Mapping[str, Any]) -> Picture:
    """Draw what the API gave as a receipt."""
    proof = Proof.parse(receipt["proof"].encode())
    leaf = b64decode(receipt["leaf"])
    head = Checkpoint.parse(proof.checkpoint.partition(b"\n\n")[0] + b"\n")
    try:
        verify_inclusion(leaf_hash(leaf), proof.index, head.size, proof.hashes, head.root)
        leads = True
    except ProofRefused:
        leads = False
    height = STEP * len(proof.hashes) + HEIGHT + 2
    return Picture(
        index=proof.index,
        size=head.size,
        root=head.root.hex(),
        leads=leads,
        levels=list(_levels(leaf_hash(leaf), proof, head.size, height)),
        height=height,
        note=proof.checkpoint.decode("utf-8", "replace"),
    )


def _levels(node: bytes, proof: Proof, size: int, height: int) -> Iterator[Level]:
    for number, (sibling, is_left) in enumerate(zip(proof.hashes, lefts(proof.index, size), strict=False)):
        y = height - HEIGHT - 1 - number * STEP
        yield Level(node=node.hex(), sibling=sibling.hex(), is_left=is_left, y=y)
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
    yield Level(node=node.hex(), sibling=None, is_left=False, y=1)


def lefts(index: int, size: int) -> list[bool]:
    """Say for each hash of a proof, from the leaf up, whether it stands on the left. Source: RFC 9162, 2.1.3."""
    if size <= 1:
        return []
    left = 1 << (size - 1).bit_length() - 1  # how many leaves stand in the left part: the largest power below
    if index < left:
        return [*lefts(index, left), False]
    return [*lefts(index - left, size - left), True]


def digest(data: bytes) -> str:
    """Name bytes by their SHA-256."""
    return hashlib.sha256(data).hexdigest()
