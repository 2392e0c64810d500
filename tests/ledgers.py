"""Ledgers to test with: fresh ones of both kinds, and records whose columns and bytes agree."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db import heads, migrate, versions
from db.engine import open_pen
from db.idempotency import request_key
from db.ledger import Ledger
from db.notes import Signer
from db.records import Kind, Origin, Outcome, PredictionRow, Record, new_id, prediction_id
from db.sealing import Seal

DATABASES = ("sqlite", "postgresql")
NOON_US = 1_795_176_000_000_000  # 20 Nov 2026


SEAL = Seal(
    origin="onrecord.test/ledger",
    mac_key=bytes(range(32)),
    signer=Signer(
        name="onrecord.test/ledger", private=Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    ),
)


def fresh(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Make an empty ledger of this kind and return its URL."""
    if kind == "postgresql":
        return str(request.getfixturevalue("postgres").new_ledger())
    shutil.copyfile(_migrated(), folder / "ledger.db")
    return f"sqlite:///{folder}/ledger.db"


@functools.cache
def _migrated() -> Path:
    """Make one file with the tables in it: copying it is faster than migrating each."""
    folder = Path(tempfile.mkdtemp(prefix="onrecord-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url = f"sqlite:///{folder}/ledger.db"
    migrate.upgrade(url)
    seal(url)
    assert not (folder / "ledger.db-wal").exists()  # all of it is in the file
    return folder / "ledger.db"


def seal(url: str) -> None:
    """Seal a ledger that has just been migrated, with the keys of these tests."""
    engine = open_pen(url)
    try:
        heads.seal_unsealed(engine, SEAL)
    finally:
        engine.dispose()


@contextmanager
def writing(url: str, deadline_s: float = 5.0) -> Iterator[Ledger]:
    """Hold the pen for a while."""
    engine = open_pen(url, deadline_s)
    try:
        yield Ledger(engine, SEAL, deadline_s)
    finally:
        engine.dispose()


def predicted(
    *rows: tuple[str | None, str | None, float],
    at_us: int = NOON_US,
    client_id: str = "demo-a",
    model: str = "income",
    version: str = "1",
) -> Record:
    """Make the record of one request; every row is (reference, label, score), a row without label is a number."""
    record_id = new_id(at_us)
    rows = rows or ((None, "<=50K", 0.25),)
    content = {
        "record": str(record_id),
        "model": model,
        "version": version,
        "predictions": [_shown(prediction_id(record_id, at), *row) for at, row in enumerate(rows)],
    }
    instances = [{"age": 50} | ({"reference": reference} if reference else {}) for reference, _, _ in rows]
    return Record(
        id=record_id,
        kind=Kind.PREDICTION,
        observed_at_us=at_us,
        client_id=client_id,
        model=model,
        version=version,
        digest=bytes(32),
        status=201,
        input=json.dumps({"instances": instances}).encode(),
        output=json.dumps(content).encode(),
        actor=json.dumps({"client_id": client_id}).encode(),
        meta=json.dumps({"made_by": {"digest": bytes(32).hex()}}).encode(),
        rows=_rows(rows),
    )


def keyed(record: Record, number: int = 1) -> Record:
    """Give a record the key of a request."""
    named = (record.client_id, "POST /v1/models/income/predictions", f"key-{number:016}")
    key = request_key(bytes(32), named, sha256(record.input).digest(), record.observed_at_us)
    return replace(record, key=key, meta=json.dumps({**json.loads(record.meta), **key.told()}).encode())


def changed(client_id: str = "admin-a", at_us: int = NOON_US) -> Record:
    """Make the record of a change of current state."""
    return Record(
        id=new_id(at_us),
        kind=Kind.CLIENT,
        observed_at_us=at_us,
        client_id=client_id,
        status=200,
        input=b'{"change": "client.add"}',
        output=b"{}",
        actor=json.dumps({"client_id": client_id}).encode(),
        meta=b"{}",
    )


def happened(
    record: Record,
    place: int,
    value: str | float,
    *,
    position: int = 0,
    at_us: int = NOON_US,
    seen_us: int | None = None,
) -> Record:
    """Make the record of an outcome of a prediction that stands at this place."""
    about = prediction_id(record.id, position)
    seen = {} if seen_us is None else {"observed_at_us": seen_us}
    shown = {"prediction": about, "model": record.model, "version": record.version, "value": value}
    told = {"change": "outcome.report", "args": {"prediction": about, "value": value, **seen}}
    return replace(
        changed("reporter-a", at_us),
        kind=Kind.OUTCOME,
        model=record.model,
        version=record.version,
        status=201,
        input=json.dumps(told).encode(),
        output=json.dumps(shown).encode(),
        origin=Origin(idx=place, position=position),
        outcome=Outcome(
            value=value if isinstance(value, str) else repr(value),
            number=None if isinstance(value, str) else value,
            observed_at_us=at_us if seen_us is None else seen_us,
        ),
    )


def replayed(record: Record, place: int, at_us: int = NOON_US) -> Record:
    """Make the record of a replay of a record that stands at this place."""
    id_ = new_id(at_us)
    shown = {"replay": str(id_), "record": str(record.id), "model": record.model, "version": record.version}
    return replace(
        changed("admin-a", at_us),
        id=id_,
        kind=Kind.REPLAY,
        model=record.model,
        version=record.version,
        digest=record.digest,
        status=201,
        input=b"",
        output=json.dumps(shown | {"digest": (record.digest or b"").hex()}).encode(),
        meta=json.dumps({"replays": str(record.id)}).encode(),
        origin=Origin(idx=place, unless_erased=True),
    )


def _shown(name: str, reference: str | None, label: str | None, score: float) -> dict[str, Any]:
    answer = {"price": score} if label is None else {"label": label, "probability": score}
    return {"id": name} | ({"reference": reference} if reference else {}) | answer | {"warnings": []}


def _rows(rows: Sequence[tuple[str | None, str | None, float]]) -> tuple[PredictionRow, ...]:
    return tuple(
        PredictionRow(position=at, reference=reference, label=label, score=score)
        for at, (reference, label, score) in enumerate(rows)
    )


def registered(
    version: str, digest: str, at_us: int, manifest: str | None = "cc" * 32
) -> versions.Registered:
    """Describe a version of income to be registered."""
    return versions.Registered(
        model="income", version=version, digest=digest, registered_at_us=at_us, manifest=manifest
    )
