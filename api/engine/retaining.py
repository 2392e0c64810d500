"""Retention: what is old enough is erased once a day, in small batches, while callers are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from api import times
from api.engine.erasing import DAY_US
from api.engine.plans import ChangeRefused, Done
from api.settings import Settings
from db.engine import StorageUnavailable
from db.ledger import LedgerUnavailable

ACTOR = {"client_id": "retention"}
DAY_S, PAUSE_S = 86_400.0, 0.5  # between two batches the pen is everybody's
log = structlog.get_logger()


class Retaining:
    """Erases through `perform`, which makes changes as if they were asked for; `clock` gives microseconds."""

    def __init__(
        self,
        settings: Settings,
        perform: Callable[[dict[str, Any]], Awaitable[Done]],
        clock: Callable[[], int],
    ) -> None:
        self._settings, self._perform, self._clock = settings, perform, clock

    async def run(self) -> None:
        """Erase what is too old for as long as the engine lives; nothing where records are kept for ever."""
        while self._settings.retention_days:
            try:
                await self._erase()
            except (ChangeRefused, StorageUnavailable, LedgerUnavailable) as refused:
                log.warning("retention-stopped-early", reason=str(refused))  # what is left is tomorrow's
            await asyncio.sleep(DAY_S)

    async def _erase(self) -> None:
        days = self._settings.retention_days
        args: dict[str, Any] = {
            "select": {"older_than": times.text(self._clock() - days * DAY_US)},
            "ground": "retention",
            "reason": f"ONRECORD_RETENTION_DAYS={days}",
            "under_six_months": self._settings.retention_under_six_months,
        }
        records = 0
        while True:
            done = await self._perform({"name": "erasure.add", "args": args, "actor": ACTOR})
            records += done.result["records"]
            if "next" not in done.result:
                log.info("retention-done", days=days, records=records)
                return
            args["after"] = done.result["next"]
            await asyncio.sleep(PAUSE_S)
