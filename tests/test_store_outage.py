"""P1 and P6 when the database is full, locked, read-only or gone: what callers see, and that it passes unaided."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import auditor, faults, outages
from tests.families import wait_until
from tests.outages import Outage
from tests.postgres import Postgres
from tests.service import Caller, Service, running

BACK_WITHIN_S = 60.0
TOLD_WITHIN_S = 40.0  # the deadline of an answer, and room for a busy machine
PUBLIC = (
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/openapi.json",
    "/health/live",
)
SQLITE: dict[str, Outage] = {
    "full": outages.full,
    "locked": outages.locked,
    "read-only": outages.read_only,
}
POSTGRESQL = ("stopped", "head locked", "refuses writes")


@pytest.fixture(scope="module")
def on_sqlite(short_folder: Path) -> Iterator[Service]:
    """Run a service whose file has a folder of its own."""
    folder = short_folder / "outage"
    (folder / "file").mkdir(parents=True)
    with running(folder, f"sqlite:///{folder / 'file' / 'onrecord.db'}") as service:
        yield service


@pytest.fixture(scope="module")
def server(short_folder: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL that may be stopped."""
    with Postgres(short_folder / "outage-pg") as server:
        yield server


@pytest.fixture(scope="module")
def on_postgresql(short_folder: Path, server: Postgres) -> Iterator[Service]:
    """Run a service on it."""
    with running(short_folder / "outage-p", server.new_database()) as service:
        yield service


def _denied(answer: httpx.Response) -> None:
    """Check a 503: it says when to ask again, and holds nothing of what was computed."""
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/audit-unavailable"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "onrecord-receipt" not in answer.headers
    assert not {"predictions", "price"} & answer.json().keys()
    assert "24.9" not in answer.text + str(answer.headers)
    assert len(answer.content) < 4096


def _predict(caller: Caller, reference: str) -> httpx.Response:
    began = time.monotonic()
    answer = caller.predict("housing", {"age": 50, "reference": reference})
    assert time.monotonic() - began < TOLD_WITHIN_S
    return answer


def _during(caller: Caller, prefix: str, *, reads: int) -> dict[str, httpx.Response]:
    """Do what callers do while nothing can be recorded; return what was denied, by reference."""
    names = [f"{prefix}-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as callers:
        denied = dict(zip(names, callers.map(lambda name: _predict(caller, name), names), strict=True))
    for answer in denied.values():
        _denied(answer)
    assert [httpx.get(caller.url + path).status_code for path in PUBLIC] == [200] * len(PUBLIC)
    searched = caller.http.get("/v1/predictions", timeout=30)
    assert searched.status_code == reads, searched.text
    if reads == 503:
        assert searched.json()["type"] == "/problems/store-unavailable"
        assert "retry-after" in searched.headers
    assert caller.http.get("/v1/holds").status_code == 403
    return denied


def _afterwards(caller: Caller, admin: Caller, denied: dict[str, httpx.Response]) -> None:
    """Check that it passes by itself, and that what was said of each denied request is true."""

    def works() -> bool:
        return caller.predict("housing", {"age": 51}).status_code == 201

    wait_until(works, BACK_WITHIN_S)
    for name, answer in denied.items():
        found = caller.find(reference=name)
        said: dict[str, Any] = answer.json()
        if "record" in said:
            assert {each["record"] for each in found} <= {said["record"]}
        else:
            assert found == [], said
    wait = 3 * BACK_WITHIN_S
    wait_until(lambda: _is_noted(admin, caller.client_id), wait)


def _is_noted(admin: Caller, client: str) -> bool:
    query = {"kind": "forbidden", "client": client}
    found = admin.http.get("/v1/security-events", params=query).json()
    return bool(found.get("events"))


def _lived_through(service: Service, outage: Outage, *, reads: int) -> None:
    with service.caller() as caller, service.caller("admin") as admin:
        assert caller.predict("housing", {"age": 49}).status_code == 201
        engine = faults.engine_of(service)
        with outage(service):
            denied = _during(caller, uuid.uuid4().hex[:6], reads=reads)
        _afterwards(caller, admin, denied)

        assert faults.engine_of(service) == engine, "it was restarted"
    assert auditor.audit(service.database_url, caller.seen) == []


@pytest.mark.parametrize("name", SQLITE)
def test_a_sqlite_file_that_cannot_be_written_denies_predictions_and_nothing_else(
    on_sqlite: Service, name: str
) -> None:
    """503 without a prediction, reads go on, and when it can be written again it is, by the same engine."""
    _lived_through(on_sqlite, SQLITE[name], reads=200)


@pytest.mark.parametrize("name", POSTGRESQL)
def test_a_postgresql_that_takes_nothing_denies_predictions(
    server: Postgres, on_postgresql: Service, name: str
) -> None:
    """503 without a prediction; reads go on where there is a server to read from; and it passes by itself."""
    outage = {
        "stopped": outages.stopped(server),
        "head locked": outages.head_locked,
        "refuses writes": outages.refusing_writes(server),
    }[name]

    _lived_through(on_postgresql, outage, reads=503 if name == "stopped" else 200)


def test_a_default_of_read_only_does_not_reach_the_pen(server: Postgres, on_postgresql: Service) -> None:
    """default_transaction_read_only, set for the whole server, is for others: the pen says what its sessions are."""
    engine = faults.engine_of(on_postgresql)
    try:
        server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        server.execute("SELECT pg_reload_conf()")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with on_postgresql.caller() as caller:
            wait_until(lambda: caller.predict("housing", {"age": 50}).status_code == 201, BACK_WITHIN_S)
    finally:
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        server.execute("SELECT pg_reload_conf()")

    assert faults.engine_of(on_postgresql) == engine
    assert auditor.audit(on_postgresql.database_url, caller.seen) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_lock_that_is_let_go_in_time_costs_time_only(request: pytest.FixtureRequest, kind: str) -> None:
    """Whoever holds a lock for a second delays the answers by it, and denies none."""
    service: Service = request.getfixturevalue(f"on_{kind}")
    hold = outages.locked if kind == "sqlite" else outages.head_locked
    answers: list[httpx.Response] = []
    with service.caller() as caller:
        asking = threading.Thread(target=lambda: answers.append(_predict(caller, f"slow-{kind}")))
        with hold(service):
            asking.start()
            time.sleep(1)
            assert answers == []
        asking.join()

    assert [each.status_code for each in answers] == [201]
    assert auditor.audit(service.database_url, caller.seen) == []
