"""The committer: records first, answers afterwards.

One thread holds the ledger. It takes whatever waits, in one transaction with one fsync, and the next group
forms while it does: there is no timer to tune, a lone request commits at once and a crowd commits together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from api.engine.answers import Ready
from api.engine.desk import Desk
from db.ledger import Ledger, LedgerUnavailable

GROUP_RECORDS = 512  # beyond this a commit gets no cheaper per record, but everybody in it waits longer
GROUP_BYTES = 4 << 20
TROUBLE_S = 5.0
Result = TypeVar("Result")
log = structlog.get_logger()


class Committer:
    """Appends what is ready and lets it leave; lives on the event loop's thread, the ledger on its own."""

    def __init__(self, ledger: Ledger, desk: Desk) -> None:
        self._ledger, self._desk = ledger, desk
        self._waiting: deque[Ready] = deque()
        self._wake = asyncio.Event()
        self._pen = ThreadPoolExecutor(1, thread_name_prefix="pen")
        self._trouble: str | None = None
        self._troubled_at = float("-inf")

    def put(self, ready: Iterable[Ready]) -> None:
        """Take answers that may leave once their records are durable."""
        for each in ready:
            each.answer.request.stage = "ledger"
            self._waiting.append(each)
        self._wake.set()

    async def with_pen(self, work: Callable[[Ledger], Result]) -> Result:
        """Run a change on the ledger's thread, between two groups."""
        return await asyncio.get_running_loop().run_in_executor(self._pen, work, self._ledger)

    def is_in_trouble(self) -> bool:
        """Say whether nothing could be recorded in the last seconds.

        After that it is no longer said, although nobody tried: whoever sends callers here by readiness must send
        one again for the ledger to be seen working.
        """
        return self._trouble is not None and time.monotonic() - self._troubled_at < TROUBLE_S

    async def run(self) -> None:
        """Commit and answer for as long as the engine lives."""
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            await self._commit(self._drain())

    def _drain(self) -> list[Ready]:
        group: list[Ready] = []
        size = 0
        while self._waiting and len(group) < GROUP_RECORDS:
            size += self._waiting[0].size
            if group and size > GROUP_BYTES:
                break
            ready = self._waiting.popleft()
            # Refused while it waited: its caller knows that nothing is promised.
            if self._desk.holds(ready.answer.request):
                group.append(ready)
        return group

    async def _commit(self, group: list[Ready]) -> None:
        if not group:
            return
        try:
            await self.with_pen(lambda ledger: ledger.append([each.record for each in group]))
        except LedgerUnavailable as unavailable:
            self._report(str(unavailable))
            self._refuse(group, unavailable)
        except Exception as raised:  # noqa: BLE001  # one record that cannot be stored must not take the others along
            await self._commit_singly(group, raised)
        else:
            self._report(None)
            self._desk.answer(each.answer for each in group)

    async def _commit_singly(self, group: list[Ready], raised: Exception) -> None:
        if len(group) > 1:
            for each in group:
                await self._commit([each])
            return
        request = group[0].answer.request
        log.error("record-not-storable", record=str(request.record), exc_info=raised)
        self._desk.refuse([request], "internal", "the request could not be recorded; nothing is given away")

    def _refuse(self, group: list[Ready], unavailable: LedgerUnavailable) -> None:
        for each in group:
            request = each.answer.request
            if unavailable.outcome_unknown:
                detail = "whether the record was written is not known yet; look its id up"
                self._desk.refuse([request], "audit-unavailable", detail, record=str(request.record))
            else:
                self._desk.refuse([request], "audit-unavailable", "nothing was recorded; ask again")

    def _report(self, trouble: str | None) -> None:
        if trouble is not None:
            self._troubled_at = time.monotonic()
            log.error("ledger-unavailable", reason=trouble)
        elif self._trouble is not None:
            log.info("ledger-writable-again")
        self._trouble = trouble
