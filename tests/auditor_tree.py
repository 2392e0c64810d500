"""The tests' auditor, part two: tree, notes, epochs and tiles derived from the leaves; it imports nothing of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.vectors.slow import Slow

Row = dict[str, Any]
_EPOCH = 7


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be: where it was seen, and what."""

    where: str
    what: str


def tree(leaves: Slow, heads: list[Row], notes: list[Row]) -> Iterator[Finding]:
    """Root and frontier of the head, and the root of every note, are those of the leaves."""
    size = len(leaves.leaves)
    starts = [
        size >> level + 1 << level + 1 for level in reversed(range(size.bit_length())) if size >> level & 1
    ]
    roots = [leaves.mth(start, end) for start, end in pairwise([*starts, size])]
    frontier = size.to_bytes(8, "big") + b"".join(roots)
    for head in heads:
        if (raw(head["root"]), raw(head["frontier"])) != (leaves.mth(0, size), frontier):
            yield Finding("head", "has a root or frontier that the leaves do not give")
        if raw(head["mac"]) == b"" or not head["origin"]:
            yield Finding("head", "is not sealed")
    for note in notes:
        origin, said, root = raw(note["text"]).decode().split("\n")[:3]
        if said != str(note["size"]) or note["size"] > size:
            yield Finding(f"note {note['size']}", f"is of {origin} and {said} records")
        elif base64.b64decode(root) != leaves.mth(0, note["size"]):
            yield Finding(f"note {note['size']}", "has a root that the leaves do not give")


def begun(records: list[Row], payloads: Mapping[UUID, Row]) -> dict[int, int]:
    """Say at which place each epoch began, by the records that declare them."""
    begun = {0: -1}
    for row in records:
        payload = payloads.get(uuid(row["id"]))
        if row["kind"] == _EPOCH and payload is not None:
            begun[json.loads(payload["output"])["epoch"]] = row["idx"]
    return begun


def epochs(begun: dict[int, int], heads: list[Row], notes: list[Row]) -> Iterator[Finding]:
    """Epochs only ever follow one another, the head is in the last one, and every note is of the one it was made in."""
    if list(begun) != sorted(begun) or [head["epoch"] for head in heads] != [max(begun)]:
        yield Finding("head", f"is not in the last of the epochs {list(begun)}")
    for note in notes:
        epoch = max(each for each, place in begun.items() if place < note["size"])
        expected = [head["origin"] + (f"#{epoch}" if epoch else "") for head in heads]
        if (origin := raw(note["text"]).decode().partition("\n")[0]) not in expected:
            yield Finding(f"note {note['size']}", f"is of {origin}, not of {expected}")


def tiles(leaves: Slow, tiles: list[Row]) -> Iterator[Finding]:
    """What is stored of the tree in between is what the leaves give: all of it, and nothing more."""
    size, expected = len(leaves.leaves), {}
    for level in (level for level in range(8) if size >> 8 * level):
        hashes = [leaves.mth(at << 8 * level, at + 1 << 8 * level) for at in range(size >> 8 * level)]
        for at in range(0, len(hashes) - (len(hashes) % 256 if level == 0 else 0), 256):
            expected[level, at // 256] = b"".join(hashes[at : at + 256])
    stored = {(row["level"], row["idx"]): raw(row["hashes"]) for row in tiles}
    for place in sorted(expected.keys() | stored.keys()):
        if expected.get(place) != stored.get(place):
            yield Finding(f"tile {place[1]} of level {place[0]}", "is not what the leaves give")


def uuid(value: UUID | bytes) -> UUID:
    return value if isinstance(value, UUID) else UUID(bytes=value)


def raw(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)  # SQLite stores what it is given
