"""What the command that verifies found, handed to the engine, so that whoever looks at the ledger sees it.

The command only reads. The engine, where one runs and lets this account ask it, puts it on record; where none does,
nothing is kept but what the command says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from api import asking
from api.settings import Settings

_WITHIN_S = 15.0


def note(settings: Settings, started_at_us: int, told: Mapping[str, Any]) -> str | None:
    """Return the id under which this verification is on record now; None where nobody put it there."""
    from api.commands.submitting import actor

    head = {"do": "verification", "ask": "note", "started_at_us": started_at_us, "actor": actor()}
    try:
        answer = asking.ask(settings.engine_socket, head, orjson.dumps(dict(told)), within_s=_WITHIN_S)
    except asking.NoEngine:
        return None
    said = orjson.loads(answer.body)
    return str(said["verification"]) if answer.head["status"] == 200 and said is not None else None
