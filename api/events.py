"""A door's security events: capped as they come, handed to the engine in batches. A door writes nothing itself.

However many requests are refused, `DETAILS` of a stranger's network and reason, `ROWS` of a client and kind, and
`ROWS_OF_ALL` together have a row of their own in a minute; the others are counted, and each count is one row more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import orjson
import structlog

from api.denials import network
from api.line import EngineUnavailable, Line
from db.security_events import SecurityEvent

EVERY_S = 1.0
DETAILS, ROWS, ROWS_OF_ALL = 5, 100, 2000
GROUPS = 1024  # that are counted apart in a minute; the rest is one
WAITING = 4096  # events kept while no engine takes them
BATCH = 50  # a transaction of some milliseconds, which records wait for
WITHIN_S = 10.0
MINUTE_US = 60_000_000
log = structlog.get_logger()
_Key = tuple[str, str, str | None, bool]


@dataclass(slots=True)
class _Count:
    """How many of one group had a row in this minute, and how many had none."""

    shown: int = 0
    hidden: int = 0


class Events:
    """Keeps what is noted until the engine has it. Belongs to one event loop; `clock_us` tells the time since 1970."""

    def __init__(self, line: Line, clock_us: Callable[[], int]) -> None:
        self._line, self._clock_us = line, clock_us
        self._waiting: deque[SecurityEvent] = deque()
        self._counts: dict[_Key, _Count] = {}
        self._minute = self._shown = self._lost = 0

    def note(self, event: SecurityEvent) -> None:
        """Keep an event for the next batch, or count it where its group has had enough of this minute."""
        self._turn(event.at_us // MINUTE_US)
        key = _key(event)
        if key not in self._counts and len(self._counts) >= GROUPS:
            key = (event.kind, "", None, False)
        count = self._counts.setdefault(key, _Count())
        if count.shown < _most(key) and self._shown < ROWS_OF_ALL:
            count.shown += 1
            self._shown += 1
            self._keep(event)
        else:
            count.hidden += 1

    async def deliver_for_ever(self) -> None:
        """Hand over what waits about once a second; whatever fails is tried again."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.deliver()
            except Exception:  # a fault here must not end the delivering for good
                log.exception("events-not-delivered")

    async def deliver(self, *, is_last: bool = False) -> None:
        """Hand over what waits and the counts of minutes that are over, the last time of this one, too."""
        self._turn(-1 if is_last else self._clock_us() // MINUTE_US)
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not await self._hand_over(batch):
                self._waiting.extendleft(reversed(batch))
                return
        if lost := self._lost:
            now_us = self._clock_us()
            about = SecurityEvent(at_us=now_us, kind="lost", reason="not written in time", suppressed=lost)
            self._lost -= lost if await self._hand_over([about]) else 0

    async def _hand_over(self, batch: list[SecurityEvent]) -> bool:
        body = orjson.dumps([asdict(each) for each in batch])
        try:
            frame = await self._line.ask({"do": "events"}, body, within_s=WITHIN_S)
        except EngineUnavailable:
            return False
        return bool(frame.head["status"] == 200)

    def _keep(self, event: SecurityEvent) -> None:
        if len(self._waiting) < WAITING:
            self._waiting.append(event)
        else:
            self._lost += event.suppressed or 1

    def _turn(self, minute: int) -> None:
        """Begin a new minute: what had no row of its own in the one before becomes one row for each group."""
        if minute == self._minute:
            return
        for key, count in self._counts.items():
            if count.hidden:
                self._keep(_summary(key, self._minute * MINUTE_US, count.hidden))
        self._counts, self._minute, self._shown = {}, minute, 0


def _key(event: SecurityEvent) -> _Key:
    """Group by client where one is proven, by reason and network where nobody is."""
    if event.client_id is not None and event.kind != "unauthenticated":
        return event.kind, event.client_id, None, True
    return event.kind, event.reason, network(event.address), False


def _most(key: _Key) -> int:
    kind, name, _, _ = key
    if not name:
        return 0
    return DETAILS if kind == "unauthenticated" else ROWS


def _summary(key: _Key, at_us: int, hidden: int) -> SecurityEvent:
    kind, name, address, is_client = key
    event = SecurityEvent(at_us=at_us, kind=kind, reason="suppressed", address=address, suppressed=hidden)
    return replace(event, client_id=name) if is_client else replace(event, reason=name or "suppressed")
