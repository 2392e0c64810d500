"""When clients last used the service: noted by a door for every token that is given or believed, told to the engine.

Of a client that was quiet the engine hears within a second, of one that goes on asking once a minute: however much is
asked, a client costs a door one small write a minute. What was not told yet is lost where the door is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog

from api.line import EngineUnavailable, Line

LOOK_S = 1.0
QUIET_US = 60_000_000  # so long nothing more is told of a client that was told of
MOST = 500  # clients in one transaction
WITHIN_S = 10.0
log = structlog.get_logger()


class Uses:
    """Keeps when each client was seen last until the engine has it; `clock_us` tells the time since 1970."""

    def __init__(self, line: Line, clock_us: Callable[[], int]) -> None:
        self._line, self._clock_us = line, clock_us
        self._seen: dict[str, int] = {}  # and not told yet
        self._told: dict[str, int] = {}

    def note(self, client_id: str) -> None:
        """Keep that a client is here now; from any thread, and cheap enough for every request."""
        self._seen[client_id] = self._clock_us()

    async def deliver_for_ever(self) -> None:
        """Tell what is due about once a second; whatever fails is tried again."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.deliver()
            except Exception:  # a fault here must not end the telling for good
                log.exception("uses-not-delivered")

    async def deliver(self, *, is_last: bool = False) -> None:
        """Tell of every client that nothing was told of for a minute; the last time of all."""
        now_us = self._clock_us()
        self._told = {name: at_us for name, at_us in self._told.items() if now_us - at_us < QUIET_US}
        due = [name for name in list(self._seen) if is_last or name not in self._told]
        for start in range(0, len(due), MOST):
            batch = {name: self._seen.pop(name) for name in due[start : start + MOST]}
            if not await self._tell(batch):
                for name, at_us in batch.items():
                    self._seen.setdefault(name, at_us)  # what was seen meanwhile is newer
                return
            self._told |= dict.fromkeys(batch, now_us)

    async def _tell(self, batch: dict[str, int]) -> bool:
        try:
            frame = await self._line.ask({"do": "uses"}, orjson.dumps(batch), within_s=WITHIN_S)
        except EngineUnavailable:
            return False
        return bool(frame.head["status"] == 200)
