"""Retention: what is old goes by itself, and nothing goes sooner than somebody said twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from api.engine.opening import opened
from api.readings import SettingRefused
from api.settings import Settings
from db.engine import open_reader
from db.lookups import Lookups
from tests import auditor
from tests.engines import engine_in_thread, settings_of, wait_for
from tests.ledgers import predicted

pytest_plugins = ("tests.deployments",)

DAY_US = 86_400_000_000


@pytest.mark.parametrize("days", ["1", "183"])
def test_fewer_than_six_months_are_said_twice(days: str) -> None:
    """A retention that the EU AI Act would call too short needs a second setting."""
    with pytest.raises(SettingRefused, match="184"):
        Settings.from_environment({"ONRECORD_RETENTION_DAYS": days})

    said = {"ONRECORD_RETENTION_DAYS": days, "ONRECORD_RETENTION_UNDER_SIX_MONTHS": "on"}
    assert Settings.from_environment(said).retention_days == int(days)


def test_records_are_kept_for_ever_unless_told() -> None:
    """Nothing is erased by default, and six months need to be said only once."""
    assert Settings.from_environment({}).retention_days == 0
    assert Settings.from_environment({"ONRECORD_RETENTION_DAYS": "184"}).retention_days == 184


def test_what_is_too_old_goes_by_itself(var: Path) -> None:
    """The engine erases what is older than the setting says, on record and on the ground of retention, and no more."""
    settings = settings_of(var, ONRECORD_RETENTION_DAYS="200")
    now_us = time.time_ns() // 1000
    old, young = (predicted(("s-1", ">50K", 0.5), at_us=now_us - days * DAY_US) for days in (201, 199))
    with opened(settings) as ledger:
        ledger.append([old, young])

    reader = open_reader(settings.database_url)
    lookups = Lookups(reader)
    with engine_in_thread(settings):
        wait_for(lambda: lookups.record(old.id).input is None)
    (erased,) = lookups.record(old.id).erasures
    assert (erased.ground, erased.client_id) == ("retention", "retention")
    assert lookups.record(young.id).input is not None
    reader.dispose()
    assert auditor.audit(settings.database_url) == []
