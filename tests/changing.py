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

ACTOR = {"client_id": "admin-a"}


def change(ledger: Ledger, reader: Engine, name: str, args: Mapping[str, Any], now_us: int) -> Done:
    """Plan a change and make it."""
    asked = Change(name=name, args=args, actor=ACTOR, now_us=now_us)
    sources = Sources(table=Table(), loading=Loading(Path("none")), reader=reader, hold_key=ledger.hold_key)
    return changes.perform(ledger, asked, changes.plan(asked, sources))


def erasing(**select: Any) -> dict[str, Any]:
    """Ask for an erasure of what is selected, on some ground."""
    return {"select": select, "ground": "data-subject-request", "reason": "letter of 3 November"}
