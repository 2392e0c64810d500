"""Which lane a request belongs to: the roster says which version is meant, and each version has one lane.

And a second one, once somebody asks for reasons: explaining takes its time, and in a thread and a copy of the model of
its own it costs those nothing who ask for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from api.engine.batching import Lane
from api.engine.desk import Desk, Request
from api.engine.loading import Loading
from api.engine.roster import Roster
from db.engine import StorageUnavailable
from db.versions import Registered
from models.model import Model

FOLLOW_S = 3.0  # how late a change made by another host is seen here
log = structlog.get_logger()


class Lanes:
    """Opens lanes and leads requests to them; `open_lane` makes a lane around the loading of its model."""

    def __init__(
        self,
        roster: Roster,
        loading: Loading,
        desk: Desk,
        open_lane: Callable[[Callable[[], Model]], Lane],
    ) -> None:
        self._roster, self._loading, self._desk, self._open_lane = roster, loading, desk, open_lane
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._explaining: dict[tuple[str, str], Lane] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Read the roster, open the lanes of every version that an alias means, and keep following."""
        self._tasks = tasks
        await self.refresh()
        tasks.create_task(self._follow())

    def route(self, request: Request) -> None:
        """Queue a request in its lane; one for an unknown version, after another look at the database."""
        if found := self._find(request):
            self._queue(request, found)
        else:
            self._spawn(self._route_after_refresh(request))

    async def refresh(self) -> None:
        """Read the roster anew; what an alias means is loaded at once, other versions when asked for."""
        try:
            await self._roster.refresh()
        except StorageUnavailable as unavailable:
            log.warning("roster-not-read", reason=str(unavailable))  # the table of before goes on serving
            return
        table = self._roster.table
        for alias in table.aliases.values():
            if found := table.find(alias.model, alias.version, None):
                self._lane(found, self._lanes)

    def models(self) -> list[dict[str, Any]]:
        """Describe every registered version: loaded, refused with its reason, or idle (not asked for yet)."""
        table = self._roster.table
        found = []
        for (model, version), registered in table.versions.items():
            lane = self._lanes.get((model, version))
            one: dict[str, Any] = {"model": model, "version": version, "digest": registered.digest}
            one["aliases"] = table.aliases_of(model, version)
            one["state"] = "idle" if lane is None else lane.state
            one["loaded"] = one["state"] == "loaded"
            if lane is not None and lane.reason is not None:
                one["reason"] = lane.reason
            found.append(one)
        return found

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            await self.refresh()

    async def _route_after_refresh(self, request: Request) -> None:
        if self._roster.is_stale():
            await self.refresh()
        if found := self._find(request):
            self._queue(request, found)
            return
        wanted = f"version {request.version}" if request.version else f"alias {request.alias}"
        self._desk.refuse([request], "not-found", f"model {request.model} has no {wanted}")

    def _find(self, request: Request) -> Registered | None:
        return self._roster.table.find(request.model, request.version or None, request.alias)

    def _queue(self, request: Request, found: Registered) -> None:
        request.version = found.version
        self._lane(found, self._explaining if request.explain else self._lanes).put(request)

    def _lane(self, found: Registered, lanes: dict[tuple[str, str], Lane]) -> Lane:
        name = (found.model, found.version)
        if name not in lanes:
            # Looked up anew for every attempt: a version that was refused may have been registered again.
            lane = self._open_lane(lambda: self._loading.load(self._roster.table.versions[name]))
            lanes[name] = lane
            lane.call()
        return lanes[name]

    def _spawn(self, work: Any) -> None:
        assert self._tasks is not None, "start() comes first"
        self._tasks.create_task(work)
