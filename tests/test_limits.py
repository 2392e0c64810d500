"""Limits: what one caller does too often is refused, for a while, and nobody else notices (A14, E16)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import denials
from api.limits import Limit, refused
from api.line import EngineUnavailable
from api.problems import RequestRefused
from api.throttle import REMEMBERED, Failures
from api.verifications import Verifications
from tests.service import Caller, Service, running

QUOTAS = {
    "ONRECORD_RATE_PER_CLIENT": "20",
    "ONRECORD_INSTANCES_PER_CLIENT": "200",
    "ONRECORD_FAILURES_PER_ADDRESS": "30",
    "ONRECORD_DOORS": "2",
    "ONRECORD_TRUSTED_PROXIES": "127.0.0.1",
}
FLOOD = 5000


@pytest.fixture
def limited(short_folder: Path) -> Iterator[Service]:
    """Run two doors with small quotas."""
    with running(short_folder / uuid.uuid4().hex[:6], **QUOTAS) as service:
        yield service


def slug(answer: httpx.Response) -> str:
    """Name the problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(1, 12)), max_size=60))
def test_no_minute_holds_more_than_twice_the_quota_and_nobody_waits_in_vain(
    asked: list[tuple[float, int]],
) -> None:
    """Evenly refilled: in any minute at most what was saved and what came in; after `wait_s` there is room."""
    limit, now, taken = Limit("requests", 10), 0.0, list[tuple[float, int]]()
    for pause, count in asked:
        now += pause
        over = limit.over("a", now, count)
        if over is None:
            taken.append((now, count))
        elif over.wait_s:
            now += over.wait_s
            assert limit.over("a", now, count) is None
            taken.append((now, count))
        else:
            assert count > 10
        assert sum(each for at, each in taken if now - at < 60) <= 20


def test_a_limit_resets_and_is_each_names_own() -> None:
    """Ten at once, the eleventh waits six seconds; another name notices nothing; a minute later it is as new."""
    limit = Limit("requests", 10)

    assert [limit.over("a", 0.0) for _ in range(10)] == [None] * 10
    over = limit.over("a", 0.0)
    assert over is not None
    assert over.headers() == {
        "Retry-After": "6",
        "RateLimit-Policy": '"requests";q=10;w=60',
        "RateLimit": '"requests";r=0;t=6',
    }
    assert limit.over("b", 0.0) is None
    assert limit.over("a", 6.0) is None
    assert limit.over("a", 6.0) is not None
    assert [limit.over("a", 66.0) for _ in range(10)] == [None] * 10


def test_memory_is_bounded_under_a_flood_of_names() -> None:
    """A hundred thousand strangers take the room of the table, and who owes nothing takes none."""
    limit = Limit("failures", 60, names=1000)
    for number in range(100_000):
        limit.over(str(number), number / 100_000)

    assert len(limit) == 1000
    limit.over("late", 1000.0)
    assert len(limit) == 1


def test_without_a_quota_nothing_is_counted() -> None:
    """0 is off."""
    limit = Limit("requests", 0)

    assert {limit.over("a", 0.0) for _ in range(1000)} == {None}
    assert len(limit) == 0


def test_a_failure_over_the_limit_is_still_a_security_event() -> None:
    """Who floods is found by its address, although it is answered 429."""
    limit = Limit("failures", 1)
    limit.over("192.0.2.7", 0.0)
    over = limit.over("192.0.2.7", 0.0)
    assert over is not None
    error = refused(over)
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "raw_path": b"/v1/models", "headers": []}
    scope |= {"client": ("192.0.2.7", 7), "extensions": {}, "query_string": b""}

    event = denials.refused(scope, error, error.fault, 0, "5f0c9a1e5f0c9a1e")

    assert event is not None
    assert event.kind == "unauthenticated"


class Dead:
    """A line to an engine that is gone."""

    async def ask(self, *_: Any, **__: Any) -> Any:
        raise EngineUnavailable("nobody listens")


def test_a_door_alone_counts_by_itself_in_bounded_memory() -> None:
    """Without an engine a door still refuses who fails too often, and forgets the oldest of too many."""
    failures = Failures(Dead(), 1, lambda: 0.0)  # type: ignore[arg-type]  # it is asked, and does not answer

    async def flood() -> list[list[bool]]:
        places = range(REMEMBERED + 100)
        return [await _refused(failures, f"10.0.{place >> 8}.{place & 255}") for place in places]

    found = asyncio.run(flood())

    assert all(each == [False, True] for each in found)
    assert len(failures) == REMEMBERED


async def _refused(failures: Failures, address: str) -> list[bool]:
    found = []
    for _ in range(2):
        try:
            await failures.count(address)
        except RequestRefused:
            found.append(True)
        else:
            found.append(False)
    return found


def test_one_verification_too_many_is_refused_as_any_request_too_many() -> None:
    """What the engine counted is told by the door in the same words and header fields."""
    limit = Limit("verifications", 1)
    limit.over("auditor", 0.0)
    over = limit.over("auditor", 0.0)
    assert over is not None

    class Full:
        async def ask(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(head={"status": 429}, body=orjson.dumps(asdict(over)))

    handler = Verifications(line=Full(), lookups=None, newest=None, root_path="")  # type: ignore[arg-type]  # only the line is asked
    call: Any = SimpleNamespace(caller=SimpleNamespace(client_id="auditor", jti="t"), query={})

    with pytest.raises(RequestRefused) as late:
        asyncio.run(handler.create(call))

    assert (late.value.fault.slug, late.value.fault.headers["Retry-After"]) == ("quota-exceeded", "60")
    assert late.value.fault.more == {"violated-policies": ["verifications"]}


def predicted(caller: Caller, **more: Any) -> httpx.Response:
    """Ask over a new connection, so that either door may get it."""
    return httpx.post(
        f"{caller.url}/v1/models/housing/predictions",
        headers={"Authorization": caller.http.headers["Authorization"]},
        json={"instances": [{"age": 50}], **more},
        timeout=30,
    )


def test_two_doors_share_the_count_and_clients_do_not(limited: Service) -> None:
    """The engine counts for both doors: of 40 requests of one client about 20 pass; the other client has its own."""
    with limited.caller("demo") as demo, limited.caller("admin") as admin:
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: predicted(demo), range(40)))
        took_s = time.monotonic() - started
        late = [each for each in answers if each.status_code == 429]
        other = predicted(admin)
        recorded = demo.find(model="housing")
        many = predicted(admin, instances=[{"age": 50}] * 201)

    passed = [each for each in answers if each.status_code == 201]
    assert len(passed) + len(late) == 40
    assert 20 <= len(passed) <= 21 + took_s / 3, "20 at once, and three seconds for each one more"
    assert len(recorded) == len(passed)
    assert {slug(each) for each in late} == {"quota-exceeded"}
    assert {tuple(each.json()["violated-policies"]) for each in late} == {("requests",)}
    assert all(each.headers["retry-after"].isdigit() for each in late)
    assert {each.headers["ratelimit-policy"] for each in late} == {'"requests";q=20;w=60'}
    assert all(each.headers["ratelimit"].startswith('"requests";r=0;t=') for each in late)
    assert other.status_code == 201
    assert (many.status_code, many.json()["violated-policies"]) == (429, ["instances"])


def test_a_flood_of_false_tokens_is_refused_and_good_callers_are_served(limited: Service) -> None:
    """Of 5,000 failures most are answered 429; good tokens work all the while, from that address, too."""
    head, body, signature = (demo := limited.caller("demo")).http.headers["Authorization"].split(".")
    false = {"Authorization": f"{head}.{body}.{signature[::-1]}"}
    statuses: list[int] = []
    good: list[int] = []
    with httpx.Client(base_url=limited.url, timeout=30) as stranger:
        for number in range(FLOOD):
            statuses.append(stranger.get("/v1/models", headers=false).status_code)
            if number % 500 == 0:
                good.append(demo.http.get("/v1/models").status_code)
        wrong = stranger.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=("nobody-1", "x" * 43)
        )
    demo.http.close()

    assert set(statuses) == {401, 429}
    assert statuses.count(401) < 30 + FLOOD // 10
    assert set(good) == {200}
    assert wrong.status_code in (401, 429)


def test_guessing_of_secrets_is_throttled_for_one_address_only(limited: Service) -> None:
    """429 before the secret is looked at; from another address the same client gets its token."""
    with limited.caller("demo") as demo:
        form = {"grant_type": "client_credentials"}

        def ask(secret: str, address: str) -> httpx.Response:
            headers = {"X-Forwarded-For": address}
            url = f"{demo.url}/oauth/token"
            return httpx.post(url, data=form, auth=(demo.client_id, secret), headers=headers, timeout=30)

        guesses = [ask("x" * 43, f"2001:db8::{number:x}") for number in range(60)]
        refused = next(each for each in guesses if each.status_code == 429)
        right = [ask(demo.client_secret, address) for address in ("2001:db8:0:1::1", "192.0.2.7")]

    assert [each.status_code for each in guesses[:30]] == [401] * 30
    assert (slug(refused), refused.json()["violated-policies"]) == ("quota-exceeded", ["failures"])
    assert int(refused.headers["retry-after"]) >= 1
    assert [each.status_code for each in right] == [200, 200]
