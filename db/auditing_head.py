"""The head held against the records, and its mac against the key that is not in the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hmac import compare_digest, digest
from typing import Any

from sqlalchemy import Connection, text

from db.auditing import Tally
from db.auditing_rows import raw
from db.tree import MAX_SIZE, Frontier

_HEADS = text("SELECT * FROM head")


def read(connection: Connection) -> Sequence[Any]:
    """Read what is stored, which should be one row."""
    return connection.execute(_HEADS).all()


def size(heads: Sequence[Any]) -> int:
    """Return how many records the head states; none, where it says nothing that could be a number of records."""
    stated = heads[0].size if heads else 0
    return stated if isinstance(stated, int) and 0 <= stated <= MAX_SIZE else 0


def differences(heads: Sequence[Any], origin: str, tally: Tally, frontier: Frontier) -> Iterator[str]:
    """Say in what the head is not as the records make it."""
    if len(heads) != 1 or heads[0].id != 1:
        yield f"there is one head, and its id is 1; found: {len(heads)}"
        return
    head = heads[0]
    if head.size != size(heads):
        yield f"size is {head.size!r}"
    expected = {
        "latest_us": tally.latest_us,
        "lag_us": tally.lag_us,
        "origin": origin,
        "root": frontier.root(),
        "frontier": frontier.to_bytes(),
    }
    if frontier.size != head.size:  # a finding of its own; these would only repeat it
        del expected["root"], expected["frontier"]
    for name, value in expected.items():
        if (have := getattr(head, name)) != value:
            yield f"{name} is {_shown(have)}, the records say {_shown(value)}"


def is_sealed(heads: Sequence[Any], key: bytes) -> bool:
    """Say whether the mac was made with this key over what stands beside it."""
    if len(heads) != 1:
        return False
    head = heads[0]
    numbers = (head.epoch, head.size)
    if not all(isinstance(each, int) for each in numbers) or min(numbers) < 0 or head.epoch >= 2**32:
        return False
    counted = head.epoch.to_bytes(4) + head.size.to_bytes(8)
    message = b"head/v1" + raw(head.origin) + b"\0" + counted + raw(head.root) + raw(head.frontier)
    return compare_digest(raw(head.mac), digest(key, message, "sha256"))


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
