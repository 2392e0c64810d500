"""The independent checker's own reading of erasures: what may be missing, and what must be.

Imports nothing of ours, like tests/auditor.py, of which it is a part.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

Row = dict[str, Any]
NAMES = ("input", "output", "actor", "meta")
_ERASURE = 5
SHORT_BYTES = 1024


class Erasures:
    """What the records of erasures say is gone, and which rows claim to be gone."""

    def __init__(self, records: list[Row], payloads: Mapping[UUID, Row], rows: list[Row]) -> None:
        self._said: dict[tuple[int, int], Row] = {}
        self.gone: dict[int, set[str]] = {}
        self._unreadable: list[int] = []
        self._rows = rows
        for row in records:
            if row["kind"] == _ERASURE:
                try:
                    self._read(row["idx"], payloads[_uuid(row["id"])])
                except (KeyError, ValueError):
                    self._unreadable.append(row["idx"])

    def _read(self, place: int, payload: Row) -> None:
        for group in json.loads(bytes(payload["input"]))["args"]["erased"]:
            for first, last in group["records"]:
                for idx in range(first, last + 1):
                    self._said[idx, place] = group
                    if place > idx:
                        self.gone.setdefault(idx, set()).update(group["fields"])

    def of(self, idx: int) -> set[str]:
        """Name what must be gone of the record at this place."""
        return self.gone.get(idx, set())

    def check(self, records: list[Row], predictions: list[Row]) -> Iterator[tuple[str, str]]:
        """Hold the table against the records, and the columns that nothing else vouches for."""
        for place in self._unreadable:
            yield f"record {place}", "is an erasure that cannot be read"
        stored = {(row["idx"], row["erasure_idx"]): row["fields"] for row in self._rows}
        expected = {
            place: sum(2 ** NAMES.index(name) for name in group["fields"])
            for place, group in self._said.items()
        }
        for place in sorted(stored.keys() | expected.keys()):
            if stored.get(place) != expected.get(place):
                yield (
                    f"record {place[0]}",
                    f"erased by {place[1]}: {stored.get(place)}, not {expected.get(place)}",
                )
        counts = Counter(row["idx"] for row in predictions)
        about = {row["idx"]: (row["model"], row["version"]) for row in records}
        for (idx, by), group in self._said.items():
            if (*about.get(idx, ()), count := counts[idx]) != (
                group["model"],
                group["version"],
                group["predictions"],
            ):
                yield (
                    f"record {idx}",
                    f"is {about.get(idx)} with {count} predictions, its erasure {by} says {group}",
                )


def keyed(key: bytes, content: bytes) -> bytes:
    """Compute HMAC-SHA-256; of what is short, once: the same records are audited after every test."""
    return _once(key, content) if len(content) < SHORT_BYTES else _keyed(key, content)


def _keyed(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


_once = lru_cache(1 << 16)(_keyed)


def salts(secret: bytes, gone: set[str]) -> dict[str, bytes]:
    """What opens the commitments: derived from the whole secret, or the salts that an erasure left."""
    if not gone:
        return {each: keyed(secret, b"salt:" + each.encode()) for each in NAMES}
    kept = {each: secret[at * 32 : at * 32 + 32] for at, each in enumerate(NAMES)}
    return {each: salt for each, salt in kept.items() if salt.strip(b"\0")}


def _uuid(value: UUID | bytes) -> UUID:
    return value if isinstance(value, UUID) else UUID(bytes=value)
