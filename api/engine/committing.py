"""The committer: records first, answers afterwards.

One thread holds the ledger. It takes what waits, in one transaction with one fsync, and the next group forms while it
does: no timer to tune, a lone request commits at once, a crowd together, a small crowd in two parts, and what is large
by itself, in turn with the rest. What is ready comes straight from the threads that predict; the event loop only
writes the answers.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import structlog

from api import receipts
from api.engine.answers import Ready
from api.engine.batching import ALONE_BYTES
from api.engine.desk import Answer, Desk
from api.engine.keys import Keys
from db.derivations import Overtaken
from db.idempotency import KeyTaken
from db.ledger import Ledger, LedgerUnavailable
from db.sealing import LedgerForked

GROUP_RECORDS = 512  # beyond this a commit gets no cheaper per record, but everybody in it waits longer
PART_RECORDS = 32  # of up to twice as many: half of a small crowd is answered and asks again meanwhile
GROUP_BYTES = 4 << 20
TROUBLE_S = 5.0
STUCK_S = 1.0  # a group takes some milliseconds
NOTE_S = 1.0  # how long after its commit a record may wait for a checkpoint that everybody can see
OVERTAKEN = {
    "erased": "what was replayed was erased before the replay could be recorded; nothing was",
    "precondition-failed": "another outcome was recorded meanwhile; read it, and decide anew",
}
Result = TypeVar("Result")
log = structlog.get_logger()


class Committer:
    """Appends what is ready and lets it leave; lives on the event loop's thread, the ledger on its own.

    `put` may be called from any thread. What could not be appended is dealt with on the event loop, group by group.
    """

    def __init__(self, ledger: Ledger, desk: Desk, keys: Keys) -> None:
        self._ledger, self._desk, self._keys = ledger, desk, keys
        self._waiting: deque[Ready] = deque()
        self._large: deque[Ready] = deque()
        self._is_turn_of_large = False
        self._failed: asyncio.Queue[tuple[list[Ready], Exception]] = asyncio.Queue()
        self._pen = ThreadPoolExecutor(1, thread_name_prefix="pen")
        self._writing = threading.Lock()  # whoever holds it may use the ledger
        self._is_called = False  # the pen has been asked to look at what waits, and has not begun to
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trouble: str | None = None
        self._troubled_at = float("-inf")
        self._is_forked = False
        self._busy_since: float | None = None
        self._grown_at = time.monotonic()
        self._is_soiled = False  # files have what was erased, in pages from before

    def put(self, ready: Sequence[Ready], *, is_lone: bool = False) -> None:
        """Take answers that may leave once their records are durable.

        One that `is_lone`, behind which its thread has nothing to do, is recorded by that very thread where the ledger
        is free: waking another one for it would be a third of its way. Not in trouble, nor if it is large.
        """
        self._large.extend(each for each in ready if each.size >= ALONE_BYTES)
        # A whole list: the pen may look in the middle of a loop, and commit the first few alone.
        self._waiting.extend([each for each in ready if each.size < ALONE_BYTES])
        if is_lone and not self._large and self._trouble is None and self._writing.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._writing.release()
        else:
            self._call()

    def _call(self) -> None:
        # Two threads may both find that nobody has called: the second call finds nothing left. What came after the
        # pen has begun finds it uncalled, and calls again; changes and notes queue for the same thread in between.
        if not self._is_called:
            self._is_called = True
            self._pen.submit(self._write_when_free)

    async def with_pen(self, work: Callable[[Ledger], Result]) -> Result:
        """Run a change on the ledger's thread, between two groups."""
        return await asyncio.get_running_loop().run_in_executor(self._pen, self._work, work)

    def _work(self, work: Callable[[Ledger], Result]) -> Result:
        with self._writing:
            self._busy_since = time.monotonic()
            try:
                return work(self._ledger)
            finally:
                self._busy_since = None

    async def stop(self, reason: str) -> None:
        """Record nothing more, because somebody outside has proof that what is stored was changed."""
        self._is_forked = True
        log.error("ledger-forked", reason=reason)
        await self.with_pen(lambda ledger: ledger.stop(reason))

    def state(self) -> str:
        """Say whether records can be written, in words that name nothing.

        That nothing could be recorded is said for some seconds only, although nobody tried since: whoever sends
        callers here by readiness must send one again for the ledger to be seen working. A fork stays one.
        """
        if self._is_forked:
            return "stopped: what is stored is not what was recorded; the log says why"
        in_trouble = self._trouble is not None and time.monotonic() - self._troubled_at < TROUBLE_S
        return "cannot be written, the log says why" if in_trouble else "writable"

    def is_stuck(self) -> bool:
        """Say whether it is the ledger that requests wait for: in trouble since its last success, or busy for long."""
        since = self._busy_since
        return self._trouble is not None or (since is not None and time.monotonic() - since > STUCK_S)

    def quiet_s(self) -> float:
        """Say for how long nothing was recorded, as far as notes tell."""
        return time.monotonic() - self._grown_at

    async def note(self) -> None:
        """Write a signed checkpoint of what was committed since the last one, if anything was.

        A note that cannot be written is made up for by the next one; until then the newest records lack a
        checkpoint that others can see, but not their receipts.
        """
        try:
            if await self.with_pen(lambda ledger: ledger.note()):
                self._grown_at = time.monotonic()
        except LedgerForked as fork:
            self._is_forked = True
            log.error("ledger-forked", reason=str(fork))  # noqa: TRY400  # the reason is all there is to know
        except (LedgerUnavailable, OSError) as unavailable:
            log.error("note-not-written", reason=str(unavailable))  # noqa: TRY400  # likewise

    async def note_now_and_then(self) -> None:
        """Write notes for as long as the engine lives."""
        while True:
            await self.note()
            if self._is_soiled:
                await self._scrub()
            await asyncio.sleep(NOTE_S)

    def soil(self) -> None:
        """Have what was just erased taken out of the files, too, as soon as no reader is in the way."""
        self._is_soiled = True

    async def _scrub(self) -> None:
        try:
            self._is_soiled = not await self.with_pen(lambda ledger: ledger.scrub())
        except LedgerUnavailable as unavailable:
            log.error("not-scrubbed-yet", reason=str(unavailable))  # noqa: TRY400  # the reason is all there is to know

    async def run(self) -> None:
        """Deal with what could not be appended, for as long as the engine lives."""
        self._loop = asyncio.get_running_loop()
        self._call()  # for what came before there was a loop
        while True:
            await self._recover(*await self._failed.get())

    def _write_when_free(self) -> None:
        self._is_called = False
        with self._writing:
            self._write()

    def _write(self) -> None:
        """Append the next group; whoever calls this holds `_writing`."""
        assert self._loop is not None, "run() comes first"
        group = self._next()
        self._busy_since = time.monotonic()
        try:
            answers = _append(self._ledger, group) if group else []
        except Exception as raised:  # noqa: BLE001  # whatever it is, the event loop sorts it out
            self._loop.call_soon_threadsafe(self._failed.put_nowait, (group, raised))
        else:
            self._loop.call_soon_threadsafe(self._release, answers)
        finally:
            self._busy_since = None
        if self._waiting or self._large:
            self._call()

    def _next(self) -> list[Ready]:
        """Take all that is small, or one that is large, in turn: a row waits for one of these at most."""
        if self._large and (self._is_turn_of_large or not self._waiting):
            self._is_turn_of_large = False
            large = self._large.popleft()
            return [large] if self._desk.records(large.answer.request) else []
        self._is_turn_of_large = True
        return self._drain()

    def _drain(self) -> list[Ready]:
        group: list[Ready] = []
        size = 0
        most = PART_RECORDS if len(self._waiting) <= 2 * PART_RECORDS else GROUP_RECORDS
        while self._waiting and len(group) < most:
            size += self._waiting[0].size
            if group and size > GROUP_BYTES:
                break
            ready = self._waiting.popleft()
            # Refused while it waited: its caller knows that nothing is promised.
            if self._desk.records(ready.answer.request):
                group.append(ready)
        return group

    def _release(self, answers: list[Answer]) -> None:
        self._report(None)
        self._desk.answer(answers)

    async def _commit(self, group: list[Ready]) -> None:
        if not group:
            return
        try:
            answers = await self.with_pen(lambda ledger: _append(ledger, group))
        except Exception as raised:  # noqa: BLE001  # sorted out below
            await self._recover(group, raised)
        else:
            self._release(answers)

    async def _recover(self, group: list[Ready], raised: Exception) -> None:
        match raised:
            case LedgerForked():
                self._report(str(raised))
                self._is_forked = True
                waiting = [each.answer.request for each in group]
                self._desk.refuse(
                    waiting, "audit-unavailable", "nothing is promised, and nothing more is recorded"
                )
            case LedgerUnavailable():
                self._report(str(raised))
                self._refuse(group, raised)
            case KeyTaken():
                await self._commit([each for each in group if each.record.id not in raised.records])
                await self._answer_again([each for each in group if each.record.id in raised.records])
            case Overtaken():
                await self._commit([each for each in group if each.record.id not in raised.reasons])
                self._refuse_overtaken(group, raised.reasons)
            case _:  # one record that cannot be stored must not take the others along
                await self._commit_singly(group, raised)

    async def _commit_singly(self, group: list[Ready], raised: Exception) -> None:
        if len(group) > 1:
            for each in group:
                await self._commit([each])
            return
        request = group[0].answer.request
        log.error("record-not-storable", record=str(request.record), exc_info=raised)
        self._desk.refuse([request], "internal", "the request could not be recorded; nothing is given away")

    def _refuse_overtaken(self, group: Sequence[Ready], reasons: Mapping[UUID, str]) -> None:
        for each in group:
            if each.record.id in reasons:
                slug = reasons[each.record.id]
                self._desk.refuse([each.answer.request], slug, OVERTAKEN[slug])

    async def _answer_again(self, group: list[Ready]) -> None:
        for each in group:
            request = each.answer.request
            if request.key is not None:
                self._desk.hand(request, *await self._keys.again(request.key))

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


def _append(ledger: Ledger, group: Sequence[Ready]) -> list[Answer]:
    """Record a group and put the receipts to its answers; runs on the ledger's thread."""
    appended = ledger.append([record for each in group for record in each.records])
    receipt_of = iter(appended.receipts)
    answers = []
    for each in group:
        own, *_ = itertools.islice(receipt_of, len(each.records))
        made, told = each.answer, receipts.header(own)
        # Not dataclasses.replace, which takes three times as long.
        answers.append(Answer(request=made.request, status=made.status, body=made.body, receipt=told))
    return answers
