"""The leaf and its commitments: bytes that never change, and in which nothing of the record is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from hmac import digest as hmac
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from db import records
from db.records import (
    COMMITTED,
    LEAF_BYTES,
    Kind,
    LeafRefused,
    Record,
    commitment,
    commitments,
    leaf,
    read_leaf,
    salts,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "leaves.json").read_text())
SECRET = bytes(range(32))
RECORD = Record(
    id=UUID("01a1f9f3-a43b-7ae5-99e5-9089c9b5006f"),
    kind=Kind.PREDICTION,
    observed_at_us=1_795_176_000_000_000,
    client_id="demo-a",
    model="income",
    version="1",
    digest=sha256(b"model").digest(),
    status=201,
    input=b'{"instances":[]}',
    output=b"{}",
    actor=b'{"client_id":"demo-a"}',
    meta=b'{"model":"income","version":"1"}',
    runtime=sha256(b"runtime").digest(),
)


def record_of(vector: dict[str, Any]) -> Record:
    """Read a record as the vectors write it."""
    given = vector["record"]
    return Record(
        id=UUID(given["id"]),
        kind=Kind(given["kind"]),
        observed_at_us=given["observed_at_us"],
        client_id=given["client_id"],
        digest=bytes.fromhex(given["digest"]) if given["digest"] else None,
        status=given["status"],
        runtime=bytes.fromhex(given["runtime"]),
        **{name: bytes.fromhex(given[name]) for name in COMMITTED},
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_leaf_has_the_bytes_it_always_had(vector: dict[str, Any]) -> None:
    """What was hashed years ago is made again, byte for byte."""
    secret = bytes.fromhex(vector["secret"])

    assert {name: salt.hex() for name, salt in salts(secret).items()} == vector["salts"]
    assert leaf(record_of(vector), secret).hex() == vector["leaf"]


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 200])
def test_a_commitment_is_an_hmac(length: int) -> None:
    """Under a salt of any length, a receipt's may be anything, the commitment is the standard library's HMAC."""
    salt, content = bytes(range(length)), b'{"instances":[]}'

    assert commitment(salt, "input", content) == hmac(salt, b"input/v1" + content, "sha256")


def test_a_leaf_is_what_its_description_says() -> None:
    """Put together by hand from the description, without any code of the writer, the leaf is the same."""
    made = bytes([1, 1]) + (201).to_bytes(2) + RECORD.id.bytes + RECORD.observed_at_us.to_bytes(8)
    made += sha256(b"model").digest() + sha256(b"runtime").digest()
    for name in ("input", "output", "actor", "meta"):
        salt = hmac(SECRET, b"salt:" + name.encode(), "sha256")
        made += hmac(salt, name.encode() + b"/v1" + getattr(RECORD, name), "sha256")

    assert made == leaf(RECORD, SECRET)
    assert len(made) == LEAF_BYTES == 220


@pytest.mark.parametrize(
    "changed",
    [
        {"id": UUID(int=RECORD.id.int + 1)},
        {"kind": Kind.CLIENT},
        {"observed_at_us": RECORD.observed_at_us + 1},
        {"digest": None},
        {"status": 422},
        {"runtime": bytes(32)},
        *({name: getattr(RECORD, name) + b" "} for name in COMMITTED),
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_nothing_of_a_record_can_change_without_its_leaf(changed: dict[str, Any]) -> None:
    """Every field that stands in the leaf moves it (M5); the rest stands in the bytes of input, actor and meta."""
    assert leaf(replace(RECORD, **changed), SECRET) != leaf(RECORD, SECRET)


def test_every_field_of_a_record_is_accounted_for() -> None:
    """A field added to records later has to be put into the leaf, or in the list of those that need not be."""
    derived = {
        "client_id",
        "model",
        "version",
        "rows",
        "key",
        "origin",
        "outcome",
    }  # verify compares them with actor, meta and output

    assert {each for each in Record.__slots__} - derived == set(records.Leaf.__slots__)


def test_the_same_bytes_in_two_places_have_two_commitments() -> None:
    """Input and output of equal bytes cannot be exchanged, nor told to be equal."""
    same = replace(RECORD, input=b"{}", output=b"{}", actor=b"{}", meta=b"{}")
    read = read_leaf(leaf(same, SECRET))

    assert len({read.input, read.output, read.actor, read.meta}) == 4
    assert commitment(bytes(32), "input", b"x") != commitment(bytes(32), "output", b"x")


def test_a_salt_opens_one_commitment_only() -> None:
    """The caller's salts neither are the secret nor let the actor be guessed."""
    given = salts(SECRET)

    assert len({*given.values(), SECRET}) == 5
    assert read_leaf(leaf(RECORD, SECRET)).actor != commitment(given["input"], "actor", RECORD.actor)


def test_other_secrets_hide_the_same_content() -> None:
    """Two records of equal content have unlike commitments, so a guess cannot be tried on the leaf."""
    one, other = read_leaf(leaf(RECORD, SECRET)), read_leaf(leaf(RECORD, bytes(32)))

    assert all(getattr(one, name) != getattr(other, name) for name in COMMITTED)
    assert one.input != sha256(RECORD.input).digest()


def test_a_leaf_is_read_again() -> None:
    """Reading gives back what was written, a missing model as none."""
    read = read_leaf(leaf(replace(RECORD, digest=None), SECRET))

    assert (read.id, read.kind, read.status) == (RECORD.id, RECORD.kind, 201)
    assert (read.observed_at_us, read.digest, read.runtime) == (RECORD.observed_at_us, None, RECORD.runtime)
    assert read.input == commitment(salts(SECRET)["input"], "input", RECORD.input)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b[:-1],
        lambda b: b + b"\0",
        lambda b: b"\2" + b[1:],
        lambda b: b"\1\0" + b[2:],
        lambda _: b"",
    ],
)
def test_what_is_no_leaf_is_refused(spoil: Any) -> None:
    """Another length, version or kind is no leaf."""
    with pytest.raises(LeafRefused):
        read_leaf(spoil(leaf(RECORD, SECRET)))


def test_commitments_written_out_are_those_of_the_library() -> None:
    """What an audit computes in one go is what the writer computed one by one, for contents of any length."""
    for length in (0, 1, 30, 31, 32, 55, 56, 57, 1000, 5000):
        secret = sha256(bytes([length % 251])).digest()
        contents = [bytes([number]) * (length + number) for number in range(len(COMMITTED))]
        salt = salts(secret)

        one_by_one = [
            commitment(salt[name], name, each) for name, each in zip(COMMITTED, contents, strict=True)
        ]
        assert commitments(secret, contents) == b"".join(one_by_one)
