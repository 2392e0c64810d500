"""Alerts: rules that are refused by name, states that change for a reason, records of it, and others who are told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api import contract
from api.alerting import rules
from api.alerting.rules import Rule, RulesRefused
from api.alerting.webhooks import SecretRefused
from api.engine import alerting
from api.engine.alerting import Alerting, after
from api.settings import Settings
from db import alerts
from db.engine import open_reader
from db.ledger import Ledger
from tests import auditor
from tests.ledgers import DATABASES, NOON_US, fresh, writing
from tests.receivers import WRITTEN
from tests.service import running

RULE = Rule(name="drifted", metric="psi", window_s=86_400, threshold=0.25)
GOOD = {"name": "drifted", "metric": "psi", "window": "24h", "threshold": 0.25}


def test_a_rule_is_read_as_it_is_written() -> None:
    """Windows are hours or days; what is left out is as usual."""
    [rule] = rules.parse([GOOD | {"feature": "age", "window": "7d", "direction": "below"}], ["age", "output"])

    assert (rule.window_s, rule.feature, rule.minimum_n) == (7 * 86_400, "age", 200)
    assert (rule.is_beyond(0.2), rule.is_beyond(0.25), rule.is_beyond(0.3)) == (True, False, False)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "x-alerts must be a list"),
        ([GOOD | {"metric": "ps"}], "drifted: metric: Must be one of: psi"),
        ([GOOD | {"window": "24"}], "drifted: window: Must be such as 24h"),
        ([GOOD | {"treshold": 1}], "drifted: treshold: Unknown field"),
        ([{"name": "a"}], "a: metric: Missing data"),
        ([GOOD, GOOD], "two rules have the name drifted"),
        ([GOOD | {"feature": "shoe"}], "drifted: feature must be one of age, output"),
        ([GOOD | {"metric": "estimate.log_loss", "feature": "age"}], "not measured of one feature"),
        ([GOOD | {"webhook": "ftp://example.org"}], "drifted: webhook: Not a valid URL"),
        ([3], "0: _schema: Invalid input type"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused_by_name(members: object, said: str) -> None:
    """Rule and member are named, with what they must be."""
    with pytest.raises(RulesRefused, match=said):
        rules.parse(members, ["age", "output"])


def test_a_contract_with_a_wrong_rule_stops_the_start(tmp_path: Path) -> None:
    """The refusal names the file, too."""
    folder = tmp_path / "openapi"
    shutil.copytree("openapi", folder)
    file = folder / "models" / "housing.yaml"
    file.write_text(file.read_text() + "x-alerts:\n  - {name: a, metric: psi, window: 1d, threshold: x}\n")

    with pytest.raises(
        contract.ContractRefused, match=r"housing.yaml: x-alerts: a: threshold: Not a valid number"
    ):
        contract.read(folder, 10)


def test_only_hosts_that_the_operator_allows_are_told() -> None:
    """A contract cannot make the engine ask a host that is not in ONRECORD_WEBHOOK_HOSTS."""
    rule = Rule(**{**_members(RULE), "webhook": "https://hooks.example.org:8443/x"})

    rules.insist_on_hosts({"income": [rule]}, ("hooks.example.org",))
    with pytest.raises(RulesRefused, match=r"hooks\.example\.org is not in ONRECORD_WEBHOOK_HOSTS"):
        rules.insist_on_hosts({"income": [rule]}, ("example.org",))


def _members(rule: Rule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.__slots__}


@pytest.mark.parametrize(
    ("before", "value", "n", "expected"),
    [
        ("unknown", 0.3, 200, "firing"),
        ("unknown", 0.1, 200, "resolved"),
        ("firing", 0.1, 200, "resolved"),
        ("firing", 0.1, 199, "firing"),
        ("resolved", 0.9, 199, "resolved"),
        ("firing", None, 5000, "firing"),
    ],
)
def test_a_state_changes_only_where_enough_is_known(
    before: Any, value: float | None, n: int, expected: str
) -> None:
    """Beyond the threshold it fires, within it is resolved; without a value or enough rows it stays as it was."""
    assert after(before, RULE, {"value": value, "n": n}) == expected


@contextlib.contextmanager
def reading(url: str) -> Iterator[Any]:
    """Look into a ledger for a while."""
    reader = open_reader(url)
    try:
        yield reader
    finally:
        reader.dispose()


def on_record(url: str) -> list[dict[str, Any]]:
    """List what the records of alerts say, in their order."""
    with reading(url) as reader:
        return [json.loads(each.output) for each in alerts.since(reader, -1)]


class Committing:
    """The pen, without a thread of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def with_pen(self, work: Any) -> Any:
        return work(self.ledger)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty ledger, audited afterwards."""
    url = fresh(request.param, request, tmp_path)
    yield url
    assert auditor.audit(url, {}) == []


def looking(
    monkeypatch: pytest.MonkeyPatch, url: str, rule: Rule, folder: Path, measured: Sequence[Any]
) -> Alerting:
    """Make the engine's part with one rule, which measures these values one after the other."""
    (folder / "secret").write_text(WRITTEN)
    settings = Settings.from_environment(
        {
            "DATABASE_URL": url,
            "ONRECORD_WEBHOOK_SECRET": str(folder / "secret"),
            "ONRECORD_WEBHOOK_HOSTS": "127.0.0.1",
        }
    )
    monkeypatch.setattr(alerting, "rules_of", lambda _settings: {"income": (rule,)})
    values = iter(measured)

    async def measure(_self: Alerting, _now_us: int) -> list[dict[str, Any]]:
        value = next(values)
        return [{"model": "income", "rule": rule.name, "version": "1", "value": value, "n": 500, "why": None}]

    monkeypatch.setattr(Alerting, "_measure", measure)
    with writing(url) as ledger, reading(url) as reader:
        made = Alerting(settings, reader, Committing(ledger), lambda: NOON_US)  # type: ignore[arg-type]  # as a committer does

        async def look() -> None:
            for _ in measured:
                await made.look()

        asyncio.run(look())
    return made


def test_what_changes_is_on_record_and_told(
    monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path
) -> None:
    """Firing and its end are one record and one message each, however often the same is measured in between."""
    rule = Rule(**{**_members(RULE), "webhook": "http://127.0.0.1:9/"})

    made = looking(monkeypatch, url, rule, tmp_path, [0.1, 0.3, 0.4, 0.2, 0.2])

    told = on_record(url)
    assert [(each["state"], each["value"]) for each in told] == [("firing", 0.3), ("resolved", 0.2)]
    assert made._webhooks is not None
    waiting = [made._webhooks._waiting.get_nowait() for _ in range(2)]
    assert [json.loads(each.body) for each in waiting] == told
    assert made.state()["income"][0]["state"] == "resolved"


def test_an_alert_that_fires_does_so_after_a_restart(
    monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path
) -> None:
    """The next engine takes the state from the records: nothing is recorded or told twice."""
    looking(monkeypatch, url, RULE, tmp_path, [0.3])

    again = looking(monkeypatch, url, RULE, tmp_path, [0.5])

    assert len(on_record(url)) == 1
    assert (again.state()["income"][0]["state"], again.state()["income"][0]["value"]) == ("firing", 0.5)


def test_a_webhook_without_a_secret_stops_the_start(tmp_path: Path) -> None:
    """Who wants others to be told has to give the secret that proves it was us."""
    settings = Settings.from_environment({"ONRECORD_WEBHOOK_SECRET": str(tmp_path / "none")})

    with pytest.raises(SecretRefused, match="ONRECORD_WEBHOOK_SECRET"):
        alerting.secret_of(settings, is_needed=True)
    with pytest.raises(SecretRefused, match="set ONRECORD_WEBHOOK_SECRET"):
        alerting.secret_of(Settings.from_environment({}), is_needed=True)
    assert alerting.secret_of(Settings.from_environment({}), is_needed=False) is None


def test_a_shift_of_real_predictions_fires(short_folder: Path) -> None:
    """With the shipped contract: hundreds of old persons are asked about, and the alert of income fires, on record."""
    person = contract.read(Path("openapi"), 10).models["income"].examples[0]["instances"][0]
    with (
        running(short_folder / "alerts", None, ONRECORD_ALERTS_EVERY_S="1") as service,
        service.caller("admin") as admin,
    ):
        answer = admin.predict("income", *([person | {"age": 88}] * 300))
        assert answer.status_code == 201, answer.text

        until = time.monotonic() + 120
        while (found := drifted(admin.http.get("/v1/models/income/alerts").json()))["state"] != "firing":
            assert time.monotonic() < until, found
            time.sleep(0.2)

        firing = 'onrecord_alert_firing{alert="drifted",model="income"} 1.0'
        assert firing in admin.http.get("/metrics").text
        record = admin.http.get(f"/v1/records/{found['record']}").json()
        assert record["kind"] == "alert"
        assert (found["n"], found["version"]) == (300, "1")
        assert json.loads(base64.b64decode(record["output"]))["state"] == "firing"
        assert admin.http.get("/v1/models/nothing/alerts").status_code == 404
        assert admin.http.get("/v1/models/iris/alerts").json() == {"model": "iris", "alerts": []}
        assert auditor.audit(service.database_url, admin.seen) == []


def drifted(answer: dict[str, Any]) -> dict[str, Any]:
    """Pick the alert of that name."""
    return next(each for each in answer["alerts"] if each["alert"] == "drifted")
