"""Alerts of a model: what the engine knows of each rule of its contract."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from api.calls import Answer, Call
from api.catalog import ModelUnknown
from api.line import EngineUnavailable, Line, unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Asks the engine, which evaluates them."""

    models: Collection[str]
    line: Line

    async def search(self, call: Call) -> Answer:
        """List every alert of one model with its state."""
        model = call.path["model"]
        if model not in self.models:
            raise ModelUnknown
        try:
            frame = await self.line.ask({"do": "state"})
        except EngineUnavailable as lost:
            raise unavailable() from lost
        return Answer(content={"model": model, "alerts": orjson.loads(frame.body)["alerts"].get(model, [])})
