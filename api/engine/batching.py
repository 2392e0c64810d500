"""One lane per version: requests queue, one thread predicts for all that wait; no lane waits for another.

No timer here either: while the thread predicts for one group, the next one gathers. A lane loads its version
first, in its own thread, so that a large artefact delays only those who asked for it. What is predicted goes straight
to the committer's thread; the event loop is told only what has to be refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import structlog

from api.engine.answers import Answering, Ready
from api.engine.desk import Desk, Request
from api.engine.twins import Twins
from models.model import Model
from models.registry import ModelRefused

GROUP_REQUESTS = 4096
GROUP_BYTES = 4 << 20
ALONE_BYTES = 64 << 10  # some hundred rows, which take the lane milliseconds
RETRY_S = 10.0  # a refused artefact may be repaired on disk; it is looked at again when somebody asks for it
log = structlog.get_logger()


class Deliver(Protocol):
    """Where ready answers go; `is_lone`: their thread has nothing else to do."""

    def __call__(self, ready: Sequence[Ready], *, is_lone: bool) -> None: ...


class Lane:
    """The queue and the thread of one registered version; `load` gives its model or raises ModelRefused.

    `deliver` gets what is ready, on the lane's thread.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        desk: Desk,
        deliver: Deliver,
        clock: Callable[[], int],
        twins: Twins | None = None,
    ) -> None:
        self._twins = twins
        self._load, self._desk, self._deliver, self._clock = load, desk, deliver, clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Request] = deque()
        self._large: deque[Request] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        self._is_called = False  # the thread has been asked to look at what waits, and has not begun to
        self._answering: Answering | None = None
        self._refused_at = float("-inf")
        self.reason: str | None = None

    @property
    def state(self) -> str:
        """Say where the version is: loading, loaded or refused."""
        if self._answering is not None:
            return "loaded"
        return "loading" if self.reason is None else "refused"

    def put(self, request: Request) -> None:
        """Queue a request that the desk has let in."""
        (self._waiting if len(request.body) < ALONE_BYTES else self._large).append(request)
        self.call()

    def call(self) -> None:
        """Have the thread load its version, where it has not, and answer what waits."""
        if not self._is_called:
            self._is_called = True
            self._thread.submit(self._work)

    def _work(self) -> None:
        self._is_called = False  # what comes from now on calls again
        if self._answering is None:
            self._prepare()
        for group in self._groups():
            if self._answering is not None:
                self._answer(self._answering, group)
            else:
                detail = "the version could not be loaded; ask another one"
                self._loop.call_soon_threadsafe(self._desk.refuse, group, "model-refused", detail)
        if self._waiting or self._large:
            self.call()

    def _groups(self) -> Iterator[list[Request]]:
        """Take all that is small, then one that is large: nobody with a row waits for more than one of these."""
        if group := self._drain():
            yield group
        if self._large and self._desk.holds(large := self._large.popleft()):
            yield [large]

    def _drain(self) -> list[Request]:
        group: list[Request] = []
        size = 0
        while self._waiting and len(group) < GROUP_REQUESTS and size < GROUP_BYTES:
            request = self._waiting.popleft()
            if self._desk.holds(request):
                group.append(request)
                size += len(request.body)
        return group

    def _prepare(self) -> None:
        if time.monotonic() - self._refused_at < RETRY_S:
            return
        try:
            model = self._load()
        except Exception as refused:  # whatever is wrong with one artefact, the others keep serving
            self._refused_at, self.reason = time.monotonic(), str(refused)
            log.exception("model-refused", reason=self.reason, exc_info=not isinstance(refused, ModelRefused))
        else:
            self._answering, self.reason = Answering(model, self._clock, self._twins), None
            manifest = model.manifest
            about = {"model": manifest.model, "version": manifest.version, "digest": manifest.digest}
            log.info("model-loaded", **about, twin=model.twinless or "answers")

    def _answer(self, answering: Answering, group: list[Request]) -> None:
        delivered: set[Request] = set()
        try:
            for ready in answering.answers(group):
                is_lone = len(group) == 1 and not self._waiting and not self._large
                self._deliver(ready, is_lone=is_lone)
                delivered.update(each.answer.request for each in ready)
            if unread := [request for request in group if request not in delivered]:
                self._loop.call_soon_threadsafe(self._desk.hand_back, unread)
        except Exception:
            # A fault of this program, not of the model. Whoever has an answer on its way keeps it.
            log.exception("answering-failed", requests=len(group))
            unanswered = [request for request in group if request not in delivered]
            self._loop.call_soon_threadsafe(self._desk.refuse, unanswered, "internal", "nothing was recorded")
