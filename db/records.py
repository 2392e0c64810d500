"""What the ledger keeps of one event, as plain values, and the leaf that the tree has of it.

Standard library only: writer and verifier share it. A leaf has neither index nor predecessor, so it can be made before
anybody knows its place. It holds no personal data: commitments, each under a salt that needs the record's secret.
"""

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

SECRET_BYTES = 32
LEAF_VERSION, LEAF_BYTES = 1, 220
COMMITTED = ("input", "output", "actor", "meta")
# Big-endian, no padding; a golden vector holds it in place.
_LEAF = struct.Struct(">BBH16sq32s32s32s32s32s32s")
_NOTHING = bytes(32)
EVERYTHING = (1 << len(COMMITTED)) - 1  # all committed fields, as bits

_SALT = tuple((name, b"salt:" + name.encode()) for name in COMMITTED)
_BLOCK_BYTES = 64
# RFC 2104: a key is filled up to a block of 64 bytes and xored with these, once inside and once outside.
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_INNER_REST, _OUTER_REST = b"\x36" * 32, b"\x5c" * 32
_SALTED = tuple((b"salt:" + name.encode(), _INNER_REST + name.encode() + b"/v1") for name in COMMITTED)


class LeafRefused(Exception):
    """These bytes are no leaf of a version this code knows."""


class Kind(IntEnum):
    """What a record tells of; the numbers are stored for ever and never reused."""

    PREDICTION = 1
    CLIENT = 2
    MODEL = 3
    REPLAY = 4
    ERASURE = 5
    HOLD = 6
    EPOCH = 7
    HEARTBEAT = 8
    KEY = 9
    OUTCOME = 10
    TOKEN = 11
    TWIN = 12
    ALERT = 13
    VERIFICATION = 14


class PredictionRow(NamedTuple):  # no dataclass: a request may have ten thousand of them
    """One instance of a prediction as lookups see it, derived from the record's own bytes.

    `score` is what one would sort by: the probability of the positive label (two labels), of the answered
    label (more), or the value (regressor).
    """

    position: int
    reference: str | None = None
    label: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a record was made from: the place of another one, and of one prediction in it or (None) of all of it.

    With `unless_erased`, it is not recorded once request or answer of that one are gone.
    """

    idx: int
    position: int | None = None
    unless_erased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is reported to have happened: the label in the model's own spelling, or a number and its text.

    With `after`, only while that is the place of its prediction's newest outcome (-1: while there is none).
    """

    value: str
    number: float | None = None
    observed_at_us: int
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What is kept of an Idempotency-Key: keyed hashes of the key and of the request's body (db/idempotency.py)."""

    hash: bytes
    fingerprint: bytes
    expires_at_us: int

    def told(self) -> dict[str, dict[str, str | int]]:
        """Say it as the meta of its record does."""
        hashes = {"key": self.hash.hex(), "fingerprint": self.fingerprint.hex()}
        return {"idempotency": {**hashes, "expires_at_us": self.expires_at_us}}


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
    runtime: bytes = _NOTHING  # the digest of what computed the output: libraries, interpreter, machine
    rows: tuple[PredictionRow, ...] = ()
    key: RequestKey | None = None  # stored with it, and told by `meta`
    origin: Origin | None = None  # told by `input` or `output`, and so is what happened:
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a leaf says; `input`, `output`, `actor` and `meta` are commitments, 32 bytes each."""

    id: UUID
    kind: Kind
    status: int
    observed_at_us: int
    digest: bytes | None
    runtime: bytes
    input: bytes
    output: bytes
    actor: bytes
    meta: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that a record is in the ledger: its leaf, where it stands, and the signed head it leads to.

    `salts` open the commitments to input and output, nothing else. `signature` is 64 bytes of Ed25519 over the text
    of the checkpoint (origin, size, root); `key_id` is `<origin>+<8 hex digits>` of the key that made it.
    """

    index: int
    leaf: bytes
    salts: dict[str, bytes]
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    signature: bytes
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append returns, in the order of what was given: the places in the ledger, and the receipts."""

    places: list[int]
    receipts: list[Receipt]


def salts(secret: bytes) -> dict[str, bytes]:
    """Derive the salt of each commitment; one can be handed out without opening the others.

    Where something was erased, the secret is gone and `kept` stands in its place: then only what is left has a salt.
    """
    if len(secret) == len(COMMITTED) * SECRET_BYTES:
        parts = (secret[at : at + SECRET_BYTES] for at in range(0, len(secret), SECRET_BYTES))
        return {name: part for name, part in zip(COMMITTED, parts, strict=True) if part != _NOTHING}
    inner, outer = _pads(secret)
    return {name: sha256(outer + sha256(inner + label).digest()).digest() for name, label in _SALT}


def kept(secret: bytes, erased: int) -> bytes:
    """Write what opens the remaining commitments and nothing else: the salts in their order, zeros for the erased.

    A salt cannot be led back to the secret, so whoever has these cannot make the erased ones.
    """
    left = salts(secret)
    gone = fields(erased)
    return b"".join(_NOTHING if name in gone else left.get(name, _NOTHING) for name in COMMITTED)


def mask(names: Iterable[str]) -> int:
    """Write a set of committed fields as bits: input 1, output 2, actor 4, meta 8; stored for ever."""
    return sum(1 << COMMITTED.index(name) for name in set(names))


def fields(bits: int) -> tuple[str, ...]:
    """Read what `mask` wrote, in the order of COMMITTED."""
    return tuple(name for at, name in enumerate(COMMITTED) if bits >> at & 1)


def commitment(salt: bytes, name: str, content: bytes) -> bytes:
    """Commit to exact bytes: without the salt, even content that could be guessed stays hidden."""
    inner, outer = _pads(salt)
    return sha256(outer + sha256(inner + name.encode() + b"/v1" + content).digest()).digest()


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """Begin the two halves of an HMAC: sha256(outer + sha256(inner + message)). Source: RFC 2104 section 2.

    Written out, for a record has eight of them, and OpenSSL's takes longer to be set up than to hash a kilobyte.
    """
    if len(key) > _BLOCK_BYTES:
        key = sha256(key).digest()
    inner, outer = key.translate(_INNER), key.translate(_OUTER)
    return inner.ljust(_BLOCK_BYTES, b"\x36"), outer.ljust(_BLOCK_BYTES, b"\x5c")


def commitments(secret: bytes, contents: Iterable[bytes]) -> bytes:
    """Commit to the contents of one whole record, in the order of `COMMITTED`: the last 128 bytes of its leaf.

    The same as `salts` and `commitment` in one go: what an audit does most. The secret has to have its 32 bytes.
    """
    inner, outer = secret.translate(_INNER) + _INNER_REST, secret.translate(_OUTER) + _OUTER_REST
    made = b""
    for (salted, label), content in zip(_SALTED, contents, strict=True):
        salt = sha256(outer + sha256(inner + salted).digest()).digest()
        inside = sha256(salt.translate(_INNER) + label + content).digest()
        made += sha256(salt.translate(_OUTER) + _OUTER_REST + inside).digest()
    return made


def leaf(record: Record, secret: bytes) -> bytes:
    """Write the 220 bytes that the tree hashes; the same record and secret give the same bytes for ever."""
    return salted_leaf(record, salts(secret))


def salted_leaf(record: Record, salt: Mapping[str, bytes]) -> bytes:
    """Write a leaf where the salts are derived already: they cost half of it.

    Each commitment is that of `commitment`, without its calls.
    """
    committed = []
    for name, (_, label) in zip(COMMITTED, _SALTED, strict=True):
        own: bytes = salt[name]
        inside = sha256(own.translate(_INNER) + label + getattr(record, name)).digest()
        committed.append(sha256(own.translate(_OUTER) + _OUTER_REST + inside).digest())
    return _LEAF.pack(
        LEAF_VERSION,
        record.kind,
        record.status,
        record.id.bytes,
        record.observed_at_us,
        record.digest or _NOTHING,
        record.runtime,
        *committed,
    )


def read_leaf(data: bytes) -> Leaf:
    """Read what `leaf` wrote.

    Raises:
        LeafRefused: another length, another version, or a kind of record that does not exist.
    """
    if len(data) != LEAF_BYTES or data[0] != LEAF_VERSION:
        raise LeafRefused(
            f"a leaf of version {LEAF_VERSION} has {LEAF_BYTES} bytes and begins with its version"
        )
    _, kind, status, raw_id, observed_at_us, digest, runtime, *committed = _LEAF.unpack(data)
    if kind not in list(Kind):
        raise LeafRefused(f"there is no kind of record {kind}")
    return Leaf(
        id=UUID(bytes=raw_id),
        kind=Kind(kind),
        status=status,
        observed_at_us=observed_at_us,
        digest=None if digest == _NOTHING else digest,
        runtime=runtime,
        **dict(zip(COMMITTED, committed, strict=True)),
    )


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
