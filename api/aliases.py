"""Aliases: the names that mean a version now. Moving one is how a version is promoted, and taken back."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import orjson

from api import conditions, times
from api.calls import Answer, Call
from api.catalog import ModelUnknown
from api.line import EngineUnavailable, Line, unavailable
from api.problems import RequestRefused
from api.receipts import HEADER
from db.versions import Alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliases:
    """Reads aliases from the database and lets the engine move them."""

    models: Container[str]
    aliases: Callable[[], list[Alias]]
    line: Line
    root_path: str

    def read(self, call: Call) -> Answer:
        """Show which version the alias means."""
        alias = self._find(call)
        if alias is None:
            raise ModelUnknown
        return Answer(content=_shown(alias))

    async def promote(self, call: Call) -> Answer:
        """Let the alias mean another version, if it still means what the caller has seen."""
        before = await anyio.to_thread.run_sync(self._find, call)
        conditions.check(call.headers, None if before is None else conditions.tag(_shown(before)))
        args = {
            "model": call.path["model"],
            "version": call.body["version"],
            "alias": call.path["alias"],
            "seen_us": None if before is None else before.changed_at_us,
        }
        actor = {"client_id": call.caller.client_id, "jti": call.caller.jti}
        try:
            frame = await self.line.ask(
                {"do": "change", "name": "model.promote", "args": args, "actor": actor}
            )
        except EngineUnavailable as lost:
            raise unavailable() from lost
        content = orjson.loads(frame.body)
        if frame.head["status"] != 200:
            headers = {name.replace("-", "_"): text for name, text in frame.head["headers"].items()}
            raise RequestRefused(content["type"].rpartition("/")[2], content["detail"], **headers)
        return self._moved(Alias(**content), frame.head)

    def _moved(self, alias: Alias, head: dict[str, Any]) -> Answer:
        content = _shown(alias)
        # The body is the resource as a GET shows it, so its tag may go with it (RFC 9110, 8.7 and 9.3.4).
        headers = {
            "Content-Location": f"{self.root_path}/v1/models/{alias.model}/aliases/{alias.alias}",
            "ETag": conditions.tag(content),
        }
        if head.get("receipt") is not None:
            headers[HEADER] = head["receipt"]
        return Answer(content=content, headers=headers)

    def _find(self, call: Call) -> Alias | None:
        model, name = call.path["model"], call.path["alias"]
        if model not in self.models:
            raise ModelUnknown
        return next((each for each in self.aliases() if (each.model, each.alias) == (model, name)), None)


def _shown(alias: Alias) -> bytes:
    content = {"model": alias.model, "alias": alias.alias, "version": alias.version}
    content |= {} if alias.previous is None else {"previous": alias.previous}
    return orjson.dumps(content | {"changed_at": times.text(alias.changed_at_us)})
