"""Legal holds over HTTP: begun, lifted, listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api import times
from api.calls import Answer, Call
from api.changing import Changing
from api.keyed import keyed
from db.holds import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """Has the engine begin and lift holds; reads them from the database."""

    changing: Changing
    listing: Callable[[], list[Hold]]
    clock_us: Callable[[], int]

    async def create(self, call: Call) -> Answer:
        """Begin a hold."""
        return await self.changing.ask("hold.add", call.body, call.caller, keyed(call, "POST /v1/holds"))

    async def lift(self, call: Call) -> Answer:
        """End a hold."""
        hold = call.path["id"]
        key = keyed(call, f"POST /v1/holds/{hold}/lift")
        return await self.changing.ask("hold.lift", {**call.body, "hold": hold}, call.caller, key)

    def search(self, _call: Call) -> Answer:
        """List every hold, ended ones too."""
        now_us = self.clock_us()
        return Answer(content={"holds": [shown(each, now_us) for each in self.listing()]})


def shown(hold: Hold, now_us: int) -> dict[str, Any]:
    """Show one hold; which reference it is on, nobody can say, for only a hash of it is kept."""
    on = {
        "record": None if hold.record_id is None else str(hold.record_id),
        "client": hold.client_id,
        "model": hold.model,
    }
    by = next((name for name, value in on.items() if value is not None), "reference")
    content: dict[str, Any] = {
        "hold": str(hold.id),
        "by": by,
        "active": hold.is_active(now_us),
        "reason": hold.reason,
        "at": times.text(hold.created_at_us),
    }
    optional = {
        by: on.get(by),
        "until": None if hold.until_us is None else times.text(hold.until_us),
        "lifted_at": None if hold.lifted_at_us is None else times.text(hold.lifted_at_us),
    }
    return content | {name: value for name, value in optional.items() if value is not None}
