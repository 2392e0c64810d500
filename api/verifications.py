"""Verifications over HTTP: started, followed and cancelled by the engine, read from the ledger once they have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio.to_thread
import orjson

from api.calls import Answer, Call
from api.limits import Over, refused
from api.line import EngineUnavailable, Line, unavailable
from api.problems import RequestRefused
from db.erased import RecordErased
from db.lookups import FoundRecord, Lookups, RecordNotFound
from db.records import Kind
from db.verifications import Verified

PAGE = 20
PATH = "/v1/ledger/verifications"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifications:
    """Asks the engine of the one that runs, and the database of the others."""

    line: Line
    lookups: Lookups
    newest: Callable[[int, int | None], list[Verified]]
    root_path: str

    async def create(self, call: Call) -> Answer:
        """Have the engine start one; where one runs, show that."""
        status, content = await self._ask("start", call, of=call.query.get("of", "everything"))
        place = f"{self.root_path}{PATH}/{orjson.loads(content)['verification']}"
        return Answer(content=content, status=status, headers={"Location": place})

    async def cancel(self, call: Call) -> Answer:
        """End one that runs; show how one ended that does not."""
        _, content = await self._ask("cancel", call, verification=call.path["id"])
        if content == _NONE:
            content = await self._recorded(call)
        return Answer(content=content)

    async def read(self, call: Call) -> Answer:
        """Show one, from the ledger or as the engine sees it right now."""
        try:
            return Answer(content=await self._recorded(call))
        except RecordNotFound:
            _, running = await self._ask("running", call)
            if running != _NONE and orjson.loads(running)["verification"] == call.path["id"]:
                return Answer(content=running)
            return Answer(content=await self._recorded(call))  # it may have ended in between

    async def search(self, call: Call) -> Answer:
        """Show one page; an engine that does not answer runs none."""
        limit, before = call.query.get("limit", PAGE), call.query.get("before")
        place = None if before is None else (await self._found(UUID(before))).idx
        running = _NONE if place is not None else await self._running(call)
        page = await anyio.to_thread.run_sync(self.newest, limit + 1, place)
        shown = [each.output for each in page[:limit]]
        # One that is just being recorded is both; it is listed once.
        if running != _NONE and orjson.loads(running)["verification"] not in {
            str(each.record) for each in page
        }:
            shown = [running, *shown]
        content: dict[str, Any] = {"verifications": list(map(orjson.Fragment, shown))}
        content |= {"next": str(page[limit - 1].record)} if len(page) > limit else {}
        return Answer(content=content)

    async def anchors(self, call: Call) -> Answer:
        """Have the engine say what agrees with the ledger from outside."""
        _, content = await self._ask("anchors", call)
        return Answer(content=content)

    async def _running(self, call: Call) -> bytes:
        try:
            frame = await self.line.ask({"do": "verification", "ask": "running", "actor": _actor(call)})
        except EngineUnavailable:
            return _NONE
        return frame.body

    async def _ask(self, what: str, call: Call, **more: str) -> tuple[int, bytes]:
        try:
            frame = await self.line.ask({"do": "verification", "ask": what, "actor": _actor(call), **more})
        except EngineUnavailable as lost:
            raise unavailable() from lost
        if frame.head["status"] == 429:
            raise refused(Over(**orjson.loads(frame.body)))
        if frame.head["status"] >= 400:
            problem = orjson.loads(frame.body)
            slug, retry = problem["type"].rpartition("/")[2], frame.head["headers"].get("Retry-After")
            raise RequestRefused(slug, problem["detail"], **({"Retry_After": retry} if retry else {}))
        return frame.head["status"], frame.body

    async def _recorded(self, call: Call) -> bytes:
        found = await self._found(UUID(call.path["id"]))
        if found.output is None:
            raise RecordErased(found.id, found.erasures)
        return found.output

    async def _found(self, name: UUID) -> FoundRecord:
        found = await anyio.to_thread.run_sync(self.lookups.record, name)
        if found.kind is not Kind.VERIFICATION:
            raise RecordNotFound(str(name))
        return found


_NONE = b"null"


def _actor(call: Call) -> dict[str, str]:
    return {"client_id": call.caller.client_id, "jti": call.caller.jti}
