"""Changes made as the engine makes them, with nothing but a pen and a reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from api.engine import changes
from api.engine.loading import Loading
from api.engine.plans import Change, Done, Sources
from api.engine.roster import Table
from db import clients, versions
from db.ledger import Ledger
from db.records import Kind, Record, new_id
from tests.engines import settings_of
from tests.ledgers import NOON_US, registered

ACTOR = {"client_id": "admin-a"}


def change(ledger: Ledger, reader: Engine, name: str, args: Mapping[str, Any], now_us: int) -> Done:
    """Plan a change and make it."""
    question, sources = asked(ledger, reader, name, args, now_us)
    return changes.perform(ledger, question, changes.plan(question, sources))


def asked(
    ledger: Ledger, reader: Engine, name: str, args: Mapping[str, Any], now_us: int
) -> tuple[Change, Sources]:
    """Ask for a change, and give what it is planned from."""
    sources = Sources(
        table=Table(), loading=Loading(settings_of(Path("none"))), reader=reader, hold_key=ledger.hold_key
    )
    return Change(name=name, args=args, actor=ACTOR, now_us=now_us), sources


def erasing(**select: Any) -> dict[str, Any]:
    """Ask for an erasure of what is selected, on some ground."""
    return {"select": select, "ground": "data-subject-request", "reason": "letter of 3 November"}


KEY = {  # the public key of RFC 7517, A.1
    "kty": "EC", "crv": "P-256", "kid": "1",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}  # fmt: skip

# What there is to take back, of every kind.
GONE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hold.add", {"select": {"reference": "r-50"}, "reason": "case 7", "until": "2030-01-01T00:00:00Z"}),
    ("hold.add", {"select": {"client": "nobody-1"}, "reason": "case 8"}),
    ("hold.add", {"select": {"model": "nothing"}, "reason": "case 9"}),
    ("token.revoke", {"jti": "j-1", "client_id": "demo-a", "expires_at_us": NOON_US}),
    ("client.revoke", {"client_id": "demo-a"}),
    ("client.keys", {"client_id": "demo-a", "jwks": {"keys": [KEY]}}),
    ("client.rotate", {"client_id": "demo-a", "previous_expires_in": 3600}),
    ("erasure.add", erasing(reference="r-100")),
    ("erasure.add", erasing(reference="r-101") | {"fields": ["input", "output", "actor", "meta"]}),
    ("erasure.add", erasing(reference="r-102") | {"fields": ["output"]}),
)


def recorded_changes() -> list[tuple[Record, Callable[[Connection], None]]]:
    """Make changes of clients, versions and aliases with the records of them."""
    client = clients.Client(
        client_id="demo-a", name="demo", scope=frozenset({"predict"}), created_at_us=NOON_US
    )
    about = {"client_id": client.client_id}
    one, two = ({"model": "income", "version": version} for version in "12")
    alias = {"model": "income", "alias": "champion"}
    return [
        (
            _change(Kind.CLIENT, 0, "client.add", about | {"name": "demo", "scope": "predict"}, "secret"),
            lambda connection: clients.add(connection, client, "secret"),
        ),
        (
            _change(Kind.CLIENT, 1, "client.rotate", about, "other"),
            lambda connection: clients.rotate(connection, client.client_id, "other", NOON_US + 1),
        ),
        (
            _change(Kind.MODEL, 2, "model.register", one | {"digest": "aa" * 32, "manifest": "cc" * 32}),
            lambda connection: versions.register(connection, registered("1", "aa" * 32, NOON_US + 2)),
        ),
        (
            _change(Kind.MODEL, 3, "model.register", two | {"digest": "bb" * 32, "manifest": "cc" * 32}),
            lambda connection: versions.register(connection, registered("2", "bb" * 32, NOON_US + 3)),
        ),
        (
            _change(Kind.MODEL, 4, "model.promote", alias | {"version": "1", "previous": None}),
            lambda connection: versions.promote(connection, "income", "champion", "1", NOON_US + 4),
        ),
        (
            _change(Kind.MODEL, 5, "model.promote", alias | {"version": "2", "previous": "1"}),
            lambda connection: versions.promote(connection, "income", "champion", "2", NOON_US + 5),
        ),
    ]


def _change(kind: Kind, after_us: int, name: str, output: dict[str, Any], secret: str = "") -> Record:
    at_us = NOON_US + after_us
    return Record(
        id=new_id(at_us),
        kind=kind,
        observed_at_us=at_us,
        client_id="command-line",
        model=output.get("model"),
        version=output.get("version"),
        digest=None,
        status=200,
        input=json.dumps({"change": name}).encode(),
        output=json.dumps(output).encode(),
        actor=b'{"client_id": "command-line"}',
        meta=json.dumps({"secret_digest": sha256(secret.encode()).hexdigest()} if secret else {}).encode(),
    )
