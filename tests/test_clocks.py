"""Clocks that jump: the ledger's order is its own, and a range of times still finds what was asked in it."""

from __future__ import annotations

import itertools
import time

from api.settings import Settings
from db.engine import open_reader
from db.lookups import Filter, Lookups
from tests import auditor
from tests.engines import engine_in_thread, recorded

pytest_plugins = ("tests.deployments",)

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
JUMPS_US = (0, 5, -HOUR_US, -HOUR_US + 3, DAY_US, 7, DAY_US + 1, -300_000_000, 9)
RANGES_US = ((-HOUR_US, -1), (0, 10), (DAY_US, 2 * DAY_US), (-400_000_000, 4), (10, DAY_US - 1))


def test_a_clock_that_jumps_changes_neither_order_nor_lookups(settings: Settings) -> None:
    """C12: back an hour, forward a day, between groups and inside one: all is answered, in order, and found by time."""
    now_us = time.time_ns() // 1000
    jumps = itertools.cycle(JUMPS_US)
    with engine_in_thread(settings, clock=lambda: now_us + next(jumps)) as door:
        numbers = [door.send("housing", {"age": age}) for age in range(20)]
        answers = door.receive(*numbers)
        for age in range(20, 30):
            numbers.append(door.send("housing", {"age": age}))
            answers += door.receive(numbers[-1])
        seen = {str(door.records[n]): a.body for n, a in zip(numbers, answers, strict=True)}

    assert [answer.status for answer in answers] == [201] * 30
    found = sorted(
        (recorded(settings, door.records[number]) for number in numbers), key=lambda each: each.idx
    )
    assert [each.idx for each in found] == list(range(found[0].idx, found[0].idx + 30))
    times = [each.observed_at_us - now_us for each in found]
    assert {-HOUR_US, DAY_US} <= set(times) <= set(JUMPS_US)
    reader = open_reader(settings.database_url)
    for first, last in RANGES_US:
        page = Lookups(reader).search(Filter(from_us=now_us + first, to_us=now_us + last))
        expected = [at for at in reversed(times) if first <= at <= last]
        assert [each.observed_at_us - now_us for each in page] == expected
    reader.dispose()
    assert auditor.audit(settings.database_url, seen) == []
