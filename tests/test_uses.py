"""When a client last used the service is kept: also where it predicted nothing, and without a write per request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from api import times, wire
from api.line import EngineUnavailable
from api.uses import QUIET_US, Uses
from db import clients
from db.engine import open_pen
from tests.engines import wait_for
from tests.ledgers import fresh
from tests.pages import Person
from tests.service import Caller, Service

START_US = 5 * QUIET_US


class Told:
    """A door's uses, a clock that stands still, and what an engine that is sometimes there was told."""

    def __init__(self) -> None:
        self.now_us, self.is_there = START_US, True
        self.got: list[dict[str, int]] = []
        self.uses = Uses(self, lambda: self.now_us)  # type: ignore[arg-type]  # what is used of a line

    async def ask(self, head: Mapping[str, Any], body: bytes, within_s: float) -> wire.Frame:
        assert (head, within_s > 0) == ({"do": "uses"}, True)
        if not self.is_there:
            raise EngineUnavailable("nobody listens")
        self.got.append(orjson.loads(body))
        return wire.Frame(1, {"status": 200}, b"")

    def deliver(self, **how: bool) -> list[dict[str, int]]:
        asyncio.run(self.uses.deliver(**how))
        got, self.got = self.got, []
        return got


def test_whoever_asks_a_thousand_times_is_told_of_once_a_minute() -> None:
    """The first use is told at once, those of the next minute as one, and of nobody who is not there."""
    told = Told()
    for _ in range(1000):
        told.uses.note("a")
    first, again = told.deliver(), told.deliver()
    told.now_us += 59_000_000
    told.uses.note("a")
    soon = told.deliver()
    told.now_us += 1_000_000
    after, idle = told.deliver(), told.deliver()

    assert first == [{"a": START_US}]
    assert (again, soon, idle) == ([], [], [])
    assert after == [{"a": START_US + 59_000_000}]


def test_what_an_engine_did_not_take_is_told_again() -> None:
    """While nobody listens nothing is lost, and what was seen meanwhile counts; a door that stops tells all it has."""
    told = Told()
    told.is_there = False
    told.uses.note("a")
    lost = told.deliver()
    told.now_us += 5
    told.uses.note("a")
    told.is_there = True
    later = told.deliver()
    told.uses.note("a")
    last = told.deliver(is_last=True)

    assert (lost, later, last) == ([], [{"a": START_US + 5}], [{"a": START_US + 5}])


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_time_does_not_run_backwards(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Of what two doors tell the later time stays; of a client that is not registered here nothing is kept."""
    url = fresh(kind, request, tmp_path)
    engine = open_pen(url)
    with engine.begin() as connection:
        client = clients.new("walker", frozenset({"predict"}), 1)
        clients.add(connection, client, "secret")
        for at_us in (50, 40):
            clients.used(connection, {client.client_id: at_us, "nobody": at_us})

    [kept] = clients.listing(engine)

    assert kept.last_used_at_us == 50
    engine.dispose()


def test_a_client_that_only_reads_was_there(service: Service, admin: Caller) -> None:
    """A client that never came has no such time; a token, and a request that predicts nothing, leave one."""
    made = admin.http.post("/v1/clients", json={"name": "reader", "scope": "models:read"}).json()
    place = f"/v1/clients/{made['client_id']}"
    before = admin.http.get(place).json()
    began_us = time.time_ns() // 1000

    with Caller(service.url, made["client_id"], made["client_secret"]) as reader:
        assert reader.http.get("/v1/models").status_code == 200
        ended_us = time.time_ns() // 1000
        wait_for(lambda: "last_used_at" in admin.http.get(place).json())

    with Person(service) as someone:
        someone.sign_in("admin")
        page = someone.look(f"/console/clients/{made['client_id']}").text

    assert "last_used_at" not in before
    assert "to the minute" in page and "never since this is kept" not in page
    assert began_us <= times.read_us(admin.http.get(place).json()["last_used_at"]) <= ended_us
