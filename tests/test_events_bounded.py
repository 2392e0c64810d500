"""Security events are bounded: in rows a minute, in what waits for the engine, and in how long they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from api import contract, denials, wire
from api.app import CONTRACT
from api.events import DETAILS, MINUTE_US, ROWS, ROWS_OF_ALL, WAITING, Events
from api.front import Front
from api.line import EngineUnavailable
from api.problems import RequestRefused
from db import security_events
from db.engine import open_pen
from db.security_events import SecurityEvent, Wanted
from tests.ledgers import fresh


class Engineless:
    """A line to an engine that is sometimes there."""

    def __init__(self) -> None:
        self.is_there = True
        self.got: list[SecurityEvent] = []

    async def ask(self, head: Mapping[str, Any], body: bytes, within_s: float) -> wire.Frame:
        if not self.is_there:
            raise EngineUnavailable("nobody listens")
        assert head == {"do": "events"}
        self.got += [SecurityEvent(**each) for each in orjson.loads(body)]
        return wire.Frame(1, {"status": 200}, b"")


class Noting:
    """A door's events, a clock that stands still, and what the engine got."""

    def __init__(self) -> None:
        self.line = Engineless()
        self.now_us = 5 * MINUTE_US
        self.events = Events(self.line, lambda: self.now_us)  # type: ignore[arg-type]  # what is used of a line

    def note(self, times: int, **about: Any) -> None:
        for _ in range(times):
            self.events.note(SecurityEvent(at_us=self.now_us, **about))

    def deliver(self) -> list[SecurityEvent]:
        asyncio.run(self.events.deliver())
        got, self.line.got = self.line.got, []
        return got


def test_a_flood_of_one_network_is_five_rows_and_a_count() -> None:
    """However many come from a /24 for one reason in a minute, the table grows by six rows."""
    noting = Noting()
    for last in range(250):
        noting.note(4, kind="unauthenticated", reason="key", address=f"203.0.113.{last}")
    first = noting.deliver()
    noting.now_us += MINUTE_US
    second = noting.deliver()

    assert [each.suppressed for each in first] == [None] * DETAILS
    assert [(each.address, each.reason, each.suppressed) for each in second] == [
        ("203.0.113.0/24", "key", 995)
    ]
    assert second[0].at_us == 5 * MINUTE_US


def test_a_flood_of_one_client_is_a_hundred_rows_and_a_count() -> None:
    """However often a client is refused in a minute, the table grows by 101 rows, and others are still seen."""
    noting = Noting()
    noting.note(1000, kind="refused", reason="malformed-json", client_id="noisy")
    noting.note(1, kind="refused", reason="malformed-json", client_id="quiet")
    noting.now_us += MINUTE_US
    got = noting.deliver()

    assert [each.client_id for each in got] == ["noisy"] * ROWS + ["quiet", "noisy"]
    assert got[-1].suppressed == 1000 - ROWS


def test_a_flood_from_everywhere_is_bounded() -> None:
    """Not even a new network for every request gets more rows in a minute than all may have together."""
    noting = Noting()
    got = []
    for number in range(20_000):
        address = f"2001:db8:{number % 65536:x}:{number // 7:x}::1"
        noting.note(1, kind="unauthenticated", reason="key", address=address)
        if number % 1000 == 0:
            got += noting.deliver()
    noting.now_us += MINUTE_US
    got += noting.deliver()

    shown = [each for each in got if each.suppressed is None]
    counted = sum(each.suppressed or 0 for each in got)
    assert len(shown) <= ROWS_OF_ALL
    assert len(got) <= ROWS_OF_ALL + 1025
    assert len(shown) + counted == 20_000


def test_events_wait_for_the_engine_and_what_does_not_fit_is_counted() -> None:
    """While no engine takes them, a bounded number waits; the rest is one row that says how many were lost."""
    noting = Noting()
    noting.line.is_there = False
    for minute in range(6):
        noting.now_us = (5 + minute) * MINUTE_US
        for client in range(30):
            noting.note(ROWS, kind="refused", reason="validation", client_id=f"c-{client}")
        assert noting.deliver() == []
    noting.line.is_there = True
    got = noting.deliver()
    noting.now_us += MINUTE_US
    got += noting.deliver()

    assert len(got) <= WAITING + 1 + 30
    assert [each.kind for each in got].count("lost") == 1
    assert sum(each.suppressed or 1 for each in got) == 6 * 30 * ROWS


def test_a_fault_in_noting_costs_nobody_an_answer() -> None:
    """Whatever breaks while an event is noted, the refusal leaves as it was."""

    class Broken:
        def note(self, _event: SecurityEvent) -> None:
            raise RuntimeError("no room")

    async def refusing(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RequestRefused("unauthorized", "who are you?")

    front = Front(refusing, contract.read(CONTRACT, 10), Broken(), lambda: 1)  # type: ignore[arg-type]  # what is used

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=front), base_url="http://test"
        ) as client:
            return await client.get("/v1/models")

    assert asyncio.run(ask()).status_code == 401


def test_networks_are_named_by_their_prefix() -> None:
    """A /24, a /56, a mapped address as what it maps, and nothing for what is no address."""
    assert denials.network("203.0.113.77") == "203.0.113.0/24"
    assert denials.network("::ffff:203.0.113.77") == "203.0.113.0/24"
    assert denials.network("2001:db8:1:2ff::9") == "2001:db8:1:200::/56"
    assert denials.network("' OR 1=1--") is None
    assert denials.network(None) is None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_old_events_are_deleted_in_small_batches(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """What is older than may be goes, a batch at a time; what is younger stays."""
    engine = open_pen(fresh(kind, request, tmp_path))
    batch = [SecurityEvent(at_us=at_us, kind="refused", reason="validation") for at_us in range(10)]
    with engine.connect() as connection, connection.begin():
        security_events.add(connection, batch)
    with engine.connect() as connection, connection.begin():
        gone = [security_events.purge(connection, 7, 3) for _ in range(4)]

    left = security_events.search(engine, Wanted(), None, 50)
    engine.dispose()

    assert gone == [3, 3, 1, 0]
    assert [each.event.at_us for each in left] == [9, 8, 7]
