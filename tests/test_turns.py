"""Turns: few at once, some waiting, and whoever is one too many is told so at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.problems import RequestRefused
from api.turns import AT_ONCE, WAITING, Turns


def test_one_too_many_is_turned_away_and_all_others_get_their_turn() -> None:
    """Of more than may wait the last is refused; never are more worked on than may be at once."""
    go, lock, busy, most = threading.Event(), threading.Lock(), 0, 0

    def work() -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        assert go.wait(60)
        with lock:
            busy -= 1
        return 1

    async def ask() -> list[int]:
        turns = Turns()
        waiting = [asyncio.create_task(turns.take(work)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(RequestRefused, match="overloaded"):
            await turns.take(work)
        go.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(ask()) == [1] * WAITING
    assert most <= AT_ONCE


def test_a_turn_that_fails_is_given_back() -> None:
    """What is raised goes to who asked, and leaves room for the next."""

    async def ask() -> int:
        turns = Turns()
        for _ in range(2 * WAITING):
            with pytest.raises(ZeroDivisionError):
                await turns.take(lambda: 1 // 0)
        return await turns.take(lambda: 7)

    assert asyncio.run(ask()) == 7
