"""The keys of requests held against the records that made them.

What a key's row repeats, the meta of its record says, to which its leaf commits. A row may be gone: keys are forgotten.
Where the meta was erased nothing says what its key was. `size` decides only how long the tree of a receipt is that is
made again; whatever it is, that receipt is true or is not made at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy import Connection, text

from db.auditing_rows import raw
from db.records import fields

_AT_ONCE = 1000
_PAGE = text(
    "SELECT i.key, i.fingerprint, i.record_idx, i.size, i.expires_at_us, p.meta,"
    " (SELECT coalesce(sum(e.fields), 0) FROM erased e WHERE e.idx = i.record_idx) AS gone FROM idempotency i"
    " LEFT JOIN record r ON r.idx = i.record_idx LEFT JOIN payload p ON p.record_id = r.id"
    " WHERE i.key > :after ORDER BY i.key LIMIT :limit"
)


def differences(connection: Connection, size: int) -> Iterator[tuple[int, str]]:
    """Say which keys are not those of their records, and how; the ledger has `size` records."""
    after = b""
    while rows := connection.execute(_PAGE, {"after": after, "limit": _AT_ONCE}).all():
        for row in rows:
            yield from (
                (row.record_idx, f"idempotency {raw(row.key).hex()}: {each}") for each in _wrong(row, size)
            )
        after = rows[-1].key


def _wrong(row: Any, size: int) -> Iterator[str]:
    is_number = isinstance(row.record_idx, int) and isinstance(
        row.size, int
    )  # SQLite stores what it is given
    if not is_number or not 0 <= row.record_idx < row.size <= size:
        yield f"record {row.record_idx} of {row.size} is none of the {size} there are"
    elif "meta" not in fields(int(row.gone)):
        said = _said(row.meta)
        stored = {"key": raw(row.key).hex(), "fingerprint": raw(row.fingerprint).hex()}
        stored |= {"expires_at_us": row.expires_at_us}
        yield from (
            f"{name} is not what its record says" for name in stored if stored[name] != said.get(name)
        )


def _said(meta: Any) -> dict[str, Any]:
    try:
        return dict(orjson.loads(raw(meta))["idempotency"])
    except (ValueError, TypeError, KeyError):
        return {}
