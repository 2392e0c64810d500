"""What doors tell that is on no record: security events, and when clients were seen. The engine writes it with its pen,
and deletes events that are old.

In transactions of their own, between two groups; never while records cannot be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
import structlog

from api import wire
from api.engine import desk
from api.engine.committing import Committer
from db import clients, security_events
from db.ledger import LedgerUnavailable
from db.security_events import SecurityEvent

DAY_US = 86_400_000_000
HOUR_S, PAUSE_S = 3600.0, 0.2
FIRST_S = 5.0  # a start has better things to do
BATCH = 500
log = structlog.get_logger()
Write = Callable[[Any], None]  # with a connection of the pen


class Events:
    """Writes and deletes; `clock` gives microseconds since 1970, UTC."""

    def __init__(self, committer: Committer, days: int, clock: Callable[[], int]) -> None:
        self._committer, self._days, self._clock = committer, days, clock

    async def take(self, frame: wire.Frame, door: asyncio.StreamWriter) -> None:
        """Write what a door hands over, and tell it whether to ask again."""
        try:
            is_kept = await self.keep(_READ[frame.head["do"]](frame.body))
        except Exception:  # whatever it is, it costs these events and nothing else
            log.exception("events-refused")
            is_kept = True  # or the door would bring them again for ever
        head: dict[str, Any] = {"status": 200 if is_kept else 503, "record": None, "headers": {}}
        desk.write(door, wire.encode(frame.number, head))

    async def keep(self, write: Write) -> bool:
        """Write a door's batch, all or nothing; False: it was not written, ask again."""
        if self._committer.state() != "writable":
            return False
        try:
            await self._committer.with_pen(lambda ledger: ledger.beside(write))
        except LedgerUnavailable as unavailable:
            log.warning("events-not-written", reason=str(unavailable))
            return False
        return True

    async def purge_for_ever(self) -> None:
        """Delete what is older than it may be, now and then, in small batches."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.purge()
            except LedgerUnavailable as unavailable:
                log.warning("events-not-purged", reason=str(unavailable))  # what is left is of the next hour
            await asyncio.sleep(HOUR_S)

    async def purge(self) -> int:
        """Delete all that is too old and say how many events that were."""
        before_us, gone = self._clock() - self._days * DAY_US, 0
        while True:
            removed = await self._committer.with_pen(
                lambda ledger: ledger.beside(lambda c: security_events.purge(c, before_us, BATCH))
            )
            gone += removed
            if removed < BATCH:
                return gone
            await asyncio.sleep(PAUSE_S)


def _events(body: bytes) -> Write:
    """Read a batch; raises ValueError or TypeError for what is none."""
    found: list[dict[str, Any]] = orjson.loads(body)
    return partial(security_events.add, events=[SecurityEvent(**each) for each in found])


def _uses(body: bytes) -> Write:
    """Read when clients were seen; raises ValueError for what says no such thing."""
    return partial(clients.used, seen=orjson.loads(body))


_READ: Mapping[str, Callable[[bytes], Write]] = {"events": _events, "uses": _uses}
