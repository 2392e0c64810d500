"""Changes made as the engine makes them, with nothing but a pen and a reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from api.engine import changes
from api.engine.loading import Loading
from api.engine.plans import Change, Done, Sources
from api.engine.roster import Table
from db.ledger import Ledger
from tests.engines import settings_of
from tests.ledgers import NOON_US

ACTOR = {"client_id": "admin-a"}


def change(ledger: Ledger, reader: Engine, name: str, args: Mapping[str, Any], now_us: int) -> Done:
    """Plan a change and make it."""
    asked = Change(name=name, args=args, actor=ACTOR, now_us=now_us)
    sources = Sources(
        table=Table(), loading=Loading(settings_of(Path("none"))), reader=reader, hold_key=ledger.hold_key
    )
    return changes.perform(ledger, asked, changes.plan(asked, sources))


def erasing(**select: Any) -> dict[str, Any]:
    """Ask for an erasure of what is selected, on some ground."""
    return {"select": select, "ground": "data-subject-request", "reason": "letter of 3 November"}


# What there is to take back, of every kind.
GONE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hold.add", {"select": {"reference": "r-50"}, "reason": "case 7", "until": "2030-01-01T00:00:00Z"}),
    ("hold.add", {"select": {"client": "nobody-1"}, "reason": "case 8"}),
    ("hold.add", {"select": {"model": "nothing"}, "reason": "case 9"}),
    ("token.revoke", {"jti": "j-1", "client_id": "demo-a", "expires_at_us": NOON_US}),
    ("client.revoke", {"client_id": "demo-a"}),
    ("client.rotate", {"client_id": "demo-a", "previous_expires_in": 3600}),
    ("erasure.add", erasing(reference="r-100")),
    ("erasure.add", erasing(reference="r-101") | {"fields": ["input", "output", "actor", "meta"]}),
    ("erasure.add", erasing(reference="r-102") | {"fields": ["output"]}),
)
