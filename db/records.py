"""What the ledger keeps of one event, as plain values. Standard library only: writer and verifier share it."""

import os
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID


class Kind(IntEnum):
    """What a record tells of; the numbers are stored for ever and never reused."""

    PREDICTION = 1
    CLIENT = 2
    MODEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """One instance of a prediction as lookups see it, derived from the record's own bytes.

    `score` is what one would sort by: the probability of the positive label (two labels), of the answered
    label (more), or the value (regressor).
    """

    position: int
    reference: str | None = None
    label: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One event with the exact bytes that went in and came out; never changes once it is appended."""

    id: UUID
    kind: Kind
    observed_at_us: int
    client_id: str
    model: str | None = None
    version: str | None = None
    digest: bytes | None = None
    status: int
    input: bytes
    output: bytes
    actor: bytes
    meta: bytes
    rows: tuple[PredictionRow, ...] = ()


def new_id(at_us: int) -> UUID:
    """Make a UUIDv7: ids made later sort later, so new rows land at the right edge of every index.

    The 12 bits beside the milliseconds hold their fraction in 1/4096 (RFC 9562 section 6.2, method 3),
    the last 62 are random.
    """
    millis, micros = divmod(at_us, 1000)
    fraction = (micros << 12) // 1000
    random = int.from_bytes(os.urandom(8)) >> 2
    return UUID(int=millis << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)


def prediction_id(record_id: UUID, position: int) -> str:
    """Name one instance of a record, as callers see it."""
    return f"{record_id}.{position}"
