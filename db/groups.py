"""A group of records, made ready once for every attempt to store it; and whether what is stored is what was given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping

from db.records import SECRET_BYTES, Record, leaf, salted_leaf, salts
from db.rows import CONTENT

Apply = Callable[[Connection], None]
Then = Callable[[Connection, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to current state in the transaction of a record: before it is stored, and after."""

    apply: Apply | None = None
    then: Then | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Records with what is made of them once, before any lock: a second attempt inserts the same leaves."""

    records: Sequence[Record]
    secrets: Sequence[bytes]
    salts: Sequence[Mapping[str, bytes]]
    leaves: Sequence[bytes]


def group_of(records: Sequence[Record]) -> Group:
    """Give each record its secret, and from that its leaf."""
    random = os.urandom(SECRET_BYTES * len(records))
    secrets = [random[at : at + SECRET_BYTES] for at in range(0, len(random), SECRET_BYTES)]
    salt = list(map(salts, secrets))
    leaves = list(map(salted_leaf, records, salt))
    return Group(records=records, secrets=secrets, salts=salt, leaves=leaves)


def is_same(row: RowMapping, given: Record) -> bool:
    """Tell whether what is stored is this record: its columns, its bytes, and the leaf that stands for them."""
    is_equal = all(row[name] == getattr(given, name) for name in CONTENT)
    return is_equal and bool(row["leaf"] == leaf(given, row["secret"]))
