"""Replays: asks the engine to answer a recorded request again; what comes back is on record when it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from api.calls import Answer, Call
from api.keyed import keyed
from api.line import EngineUnavailable, Line, recorded, unavailable
from db.records import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Asks the engine, and waits longer than for a prediction."""

    line: Line
    root_path: str
    clock_us: Callable[[], int]
    within_s: float

    async def create(self, call: Call) -> Answer:
        """Have one record replayed; its id, or that of one of its predictions, says which."""
        received_at_us = self.clock_us()
        record = str(new_id(received_at_us))
        of, _, position = call.path["id"].partition(".")
        head = {
            "do": "replay",
            "record": record,
            "client": call.caller.client_id,
            "jti": call.caller.jti,
            "of": of,
            "position": int(position) if position else None,
            "received_at_us": received_at_us,
            **keyed(call, f"POST /v1/predictions/{call.path['id']}/replay"),
        }
        try:
            frame = await self.line.ask(head, within_s=self.within_s)
        except EngineUnavailable as lost:
            raise unavailable(record) from lost
        return recorded(frame, self.root_path)
