"""Whether the door lives, and whether predictions can be answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from api.calls import Answer, Call
from api.line import EngineUnavailable, Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Answers the two probes."""

    line: Line
    models: Iterable[str]

    async def live(self, _call: Call) -> Answer:
        """Answer at all."""
        return Answer(content={"live": True})

    async def ready(self, _call: Call) -> Answer:
        """Ask the engine for its state."""
        try:
            frame = await self.line.ask({"do": "state"})
        except EngineUnavailable:
            checks = {"engine": "does not answer", "ledger": "unknown", "models": "unknown"}
            witnesses: dict[str, str] = {}
            twins: dict[str, str] = {}
        else:
            state = orjson.loads(frame.body)
            ledger = "ok" if state["ledger"] == "writable" else str(state["ledger"])
            checks = {"engine": "ok", "ledger": ledger, "models": _missing(self.models, state["models"])}
            witnesses, twins = state["witnesses"], state["twins"]
        ready = set(checks.values()) == {"ok"}
        content: dict[str, Any] = {"ready": ready, "checks": checks}
        # Answers do not wait for witnesses, so readiness does not either; but their silence is never silent.
        content |= {"witnesses": witnesses} if witnesses else {}
        content |= {"twins": twins} if twins else {}
        return Answer(status=200 if ready else 503, content=content)


def _missing(models: Iterable[str], loaded: Iterable[Mapping[str, Any]]) -> str:
    champions = {each["model"] for each in loaded if each.get("loaded") and "champion" in each["aliases"]}
    missing = sorted(set(models) - champions)
    return f"no champion is loaded for {', '.join(missing)}" if missing else "ok"
