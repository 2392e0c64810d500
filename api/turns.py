"""Whoever asks for much waits for a turn: few questions are worked on at once, some wait, more are turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio.to_thread

from api.problems import RequestRefused

AT_ONCE, WAITING = 2, 16
Result = TypeVar("Result")


@dataclass(slots=True)
class Turns:
    """Gives out turns on worker threads, of one kind of question."""

    _at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _waiting: int = 0

    async def take(self, work: Callable[[], Result]) -> Result:
        """Work on a thread when it is this question's turn.

        Raises:
            RequestRefused: so many wait that it would take too long.
        """
        if self._waiting >= WAITING:
            raise RequestRefused("overloaded", "other figures are being computed; ask again", Retry_After="1")
        self._waiting += 1
        try:
            async with self._at_once:
                return await anyio.to_thread.run_sync(work)
        finally:
            self._waiting -= 1
