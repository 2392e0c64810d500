"""A ledger that is kept from growing: heartbeats make silence visible, and verify says how old the newest record is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.commands import freshness
from api.engine.heartbeat import beat
from api.settings import Settings
from db.records import Kind
from tests import auditor
from tests.engines import engine_in_thread, settings_of, wait_for
from tests.service import Service

pytest_plugins = ("tests.deployments",)
PATIENCE_S = 60.0


def heartbeats(settings: Settings) -> list[tuple[Any, ...]]:
    """Read the heartbeats past everything of ours."""
    name = settings.database_url.removeprefix("sqlite:///")
    query = "SELECT input, output, actor, meta FROM record JOIN payload ON record_id = id WHERE kind = ?"
    with closing(sqlite3.connect(name)) as file:
        return file.execute(query, [int(Kind.HEARTBEAT)]).fetchall()


def test_an_idle_engine_records_that_it_is_there(var: Path) -> None:
    """Where nothing else is recorded a heartbeat is, again and again, with nothing in it that is anybody's."""
    settings = settings_of(var, ONRECORD_HEARTBEAT_S="1")
    with engine_in_thread(settings):
        wait_for(lambda: len(heartbeats(settings)) >= 2, PATIENCE_S)

    assert set(heartbeats(settings)) == {(b"{}", b"{}", b'{"client_id":"engine"}', b"{}")}
    assert auditor.audit(settings.database_url) == []
    assert json.loads(Service(var).command("verify", "--json").stdout)["exit_code"] == 0


def test_without_an_interval_nothing_is_recorded() -> None:
    """0 switches heartbeats off: the task ends at once and never touches the ledger."""
    asyncio.run(beat(cast(Any, SimpleNamespace()), 0, time.time_ns))


def test_a_ledger_that_records_needs_no_heartbeat() -> None:
    """As long as something else is recorded within the interval, none is added."""
    asked: list[float] = []

    class Busy:
        def quiet_s(self) -> float:
            asked.append(0.0)
            if len(asked) > 20:
                raise InterruptedError
            return 0.9 * 0.001

    with pytest.raises(InterruptedError):
        asyncio.run(beat(cast(Any, Busy()), cast(int, 0.001), time.time_ns))


def test_verify_says_when_a_ledger_is_frozen(var: Path) -> None:
    """T18: the age is printed; --fresh turns one that is too old into exit code 1."""
    service = Service(var)
    plain = service.command("verify")
    fresh = service.command("verify", "--fresh", "9d")
    latest_us = json.loads(service.command("verify", "--json").stdout)["latest_us"]
    wait_for(lambda: time.time() > latest_us / 1e6 + 1, PATIENCE_S)
    frozen = service.command("verify", "--fresh", "1s", check=False)
    as_json = service.command("verify", "--fresh", "1s", "--json", check=False)

    assert "newest      record is 0 h " in plain.stdout
    assert fresh.returncode == 0
    assert (frozen.returncode, "FROZEN" in frozen.stdout) == (1, True)
    assert (as_json.returncode, json.loads(as_json.stdout)["exit_code"]) == (1, 1)


@pytest.mark.parametrize("wrong", ["2", "h", "0h", "-1h", "1.5h", "2 h", "1w", "9999999999s"])
def test_a_duration_that_is_none_is_refused(var: Path, wrong: str) -> None:
    """Exit code 2, with what would be right."""
    refused = Service(var).command("verify", f"--fresh={wrong}", check=False)

    assert (refused.returncode, "is no duration such as 90s" in refused.stderr) == (2, True)


def test_an_empty_ledger_is_not_fresh() -> None:
    """Nothing was ever added, so nothing was added lately."""
    assert "the ledger is empty" in freshness.frozen(0, 60)
    assert freshness.frozen(0, None) == ""
    assert freshness.frozen(time.time_ns() // 1000, 60) == ""
