"""Changes that arrive over HTTP: handed to the engine as they are, answered once they are on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.calls import Answer, Claims
from api.line import EngineUnavailable, Line, unavailable
from api.receipts import HEADER


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """Asks the engine for changes."""

    line: Line
    root_path: str

    async def ask(
        self, name: str, args: Mapping[str, Any], caller: Claims, key: Mapping[str, Any] | None = None
    ) -> Answer:
        """Make one change: 201 with its record and receipt, 200 where nothing had to change, or a problem.

        `key` is what `keyed` says of the request.
        """
        actor = {"client_id": caller.client_id, "jti": caller.jti}
        asked = {"do": "change", "name": name, "args": dict(args), "actor": actor, **(key or {})}
        try:
            frame = await self.line.ask(asked)
        except EngineUnavailable as lost:
            raise unavailable() from lost
        head = frame.head
        if head["status"] >= 400:
            headers = dict(head.get("headers") or {})
            media_type = "application/problem+json"
            return Answer(status=head["status"], content=frame.body, media_type=media_type, headers=headers)
        if head["record"] is None:
            return Answer(content=frame.body)
        headers = {"Location": f"{self.root_path}/v1/records/{head['record']}", HEADER: head["receipt"]}
        headers |= head["headers"]
        return Answer(status=201, content=frame.body, headers=headers)
