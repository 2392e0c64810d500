"""Erasures: what a person, a court or the calendar demands, done by the engine and answered with its record."""

from __future__ import annotations

from dataclasses import dataclass

from api.calls import Answer, Call
from api.changing import Changing
from api.keyed import keyed


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """Erases one batch at a time."""

    changing: Changing

    async def create(self, call: Call) -> Answer:
        """Erase what is selected; the body of the answer is byte for byte what the record of it holds."""
        return await self.changing.ask(
            "erasure.add", call.body, call.caller, keyed(call, "POST /v1/erasures")
        )
