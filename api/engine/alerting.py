"""Alerts: rules are evaluated now and then, what changes is a record, and whoever a rule names is told.

Measuring is another process's work. Here is only the state: it changes where a value is known, enough rows speak for
it, and it is on the other side of the threshold; everything else leaves an alert as it was.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from api import contract, times
from api.alerting import rules as alerting_rules
from api.alerting.rules import Rule
from api.alerting.webhooks import Message, SecretRefused, Webhooks, read_secret
from api.engine.child import Child, ChildLate, ChildLost
from api.engine.committing import Committer
from api.settings import Settings, bare_environment
from db import alerts
from db.engine import StorageUnavailable
from db.ledger import LedgerUnavailable
from db.records import Kind, Record, new_id
from db.sealing import LedgerForked

CONTRACT = Path(__file__).parent.parent.parent / "openapi"
ACTOR = "alerts"
_FIRST_S = 60.0  # what has just started has other things to do
_WITHIN_S = 600.0
_MOST_BYTES = 1 << 24
log = structlog.get_logger()
State = Literal["unknown", "resolved", "firing"]


@dataclass(slots=True, kw_only=True)
class _Alert:
    """One rule of one model, and what is known of it."""

    rule: Rule
    state: State = "unknown"
    since: str | None = None
    record: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    evaluated_at: str | None = None

    def shown(self) -> dict[str, Any]:
        rule = self.rule
        content = {
            "alert": rule.name,
            "metric": rule.metric,
            "feature": rule.feature,
            "window_s": rule.window_s,
            "direction": rule.direction,
            "threshold": rule.threshold,
            "minimum_n": rule.minimum_n,
            "state": self.state,
            "since": self.since,
            "record": self.record,
            "evaluated_at": self.evaluated_at,
            **{name: self.measured.get(name) for name in ("version", "value", "n", "why")},
        }
        return {name: value for name, value in content.items() if value is not None}


class Alerting:
    """Knows the state of every alert since the engine began; `clock` gives microseconds since 1970, UTC."""

    def __init__(
        self, settings: Settings, reader: Any, committer: Committer, clock: Callable[[], int]
    ) -> None:
        self._settings, self._reader, self._committer, self._clock = settings, reader, committer, clock
        self._alerts = {
            (model, rule.name): _Alert(rule=rule)
            for model, of_model in rules_of(settings).items()
            for rule in of_model
        }
        secret = secret_of(settings, is_needed=any(each.rule.webhook for each in self._alerts.values()))
        self._webhooks = None if secret is None else Webhooks(secret, lambda: clock() // 1_000_000)
        self._seen = -1
        self._child = Child(
            command=(sys.executable, "-m", "api.alerting.measuring"),
            environment=bare_environment(),
            most_bytes=_MOST_BYTES,
            shows_errors=True,
        )

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """Say by model what is known of each alert."""
        shown: dict[str, list[dict[str, Any]]] = {}
        for (model, _), alert in self._alerts.items():
            shown.setdefault(model, []).append(alert.shown())
        return shown

    async def run(self) -> None:
        """Evaluate for as long as the engine lives; nothing where no contract has a rule."""
        if not self._alerts or not self._settings.alerts_every_s:
            return
        async with asyncio.TaskGroup() as tasks:
            if self._webhooks is not None:
                tasks.create_task(self._webhooks.run())
            await asyncio.sleep(min(_FIRST_S, self._settings.alerts_every_s))
            while True:
                await self.look()
                await asyncio.sleep(self._settings.alerts_every_s)

    async def look(self) -> None:
        """Evaluate every alert once; what fails is tried again at the next time."""
        try:
            await self._remember()
            now_us = self._clock()
            for measured in await self._measure(now_us):
                alert = self._alerts.get((measured["model"], measured["rule"]))
                if alert is not None:
                    await self._take(alert, measured, now_us)
        except (StorageUnavailable, LedgerUnavailable, LedgerForked, ChildLate, ChildLost, OSError) as failed:
            log.warning("alerts-not-evaluated", reason=f"{type(failed).__name__}: {failed}")

    async def _remember(self) -> None:
        """Take up what is on record: of the engine before this one, and of those of other hosts."""
        found = await asyncio.to_thread(alerts.since, self._reader, self._seen)
        for each in found:
            self._seen = max(self._seen, each.idx)
            said = orjson.loads(each.output)
            if (alert := self._alerts.get((said["model"], said["alert"]))) is not None:
                alert.state, alert.since, alert.record = said["state"], said["at"], str(each.record)

    async def _measure(self, now_us: int) -> list[dict[str, Any]]:
        question = {
            "database_url": self._settings.database_url,
            "store": str(self._settings.store.resolve()),
            "contract": str(CONTRACT),
            "now_us": now_us,
        }
        answer: list[dict[str, Any]] = orjson.loads(await self._child.ask(orjson.dumps(question), _WITHIN_S))
        return answer

    async def _take(self, alert: _Alert, measured: dict[str, Any], now_us: int) -> None:
        alert.measured, alert.evaluated_at = measured, times.text(now_us)
        rule, value = alert.rule, measured["value"]
        if value is not None and measured["n"] < rule.minimum_n:
            alert.measured["why"] = f"fewer than {rule.minimum_n} predictions"
        state = after(alert.state, rule, measured)
        if state == alert.state or {state, alert.state} == {"resolved", "unknown"}:
            alert.state = state
            return
        record = _record(rule, measured, state, now_us)
        await self._committer.with_pen(lambda ledger: ledger.append([record]))
        alert.state, alert.since, alert.record = state, times.text(now_us), str(record.id)
        log.warning("alert", model=measured["model"], alert=rule.name, state=state, value=value)
        if rule.webhook is not None and self._webhooks is not None:
            self._webhooks.put(Message(id=str(record.id), url=rule.webhook, body=record.output))


def after(before: State, rule: Rule, measured: Mapping[str, Any]) -> State:
    """Say what state follows: as it was, where nothing is known or too few rows speak for it."""
    value = measured["value"]
    if value is None or measured["n"] < rule.minimum_n:
        return before
    return "firing" if rule.is_beyond(value) else "resolved"


def rules_of(settings: Settings) -> Mapping[str, tuple[Rule, ...]]:
    """
    Read the rules of every contract, and insist that the operator allows whom they want to tell.

    Raises:
        ContractRefused, RulesRefused, SecretRefused: naming what to change.
    """
    rules = {name: each.alerts for name, each in contract.models(CONTRACT).items()}
    alerting_rules.insist_on_hosts(rules, settings.allowed_hosts)
    return rules


def secret_of(settings: Settings, *, is_needed: bool) -> bytes | None:
    """
    Read the secret that webhooks are signed with; None where nobody is to be told.

    Raises:
        SecretRefused: it is needed, and not there, or not a secret.
    """
    if not is_needed:
        return None
    if settings.webhook_secret is None:
        raise SecretRefused("an alert has a webhook: set ONRECORD_WEBHOOK_SECRET to the file of its secret")
    try:
        return read_secret(settings.webhook_secret.read_text())
    except (OSError, UnicodeDecodeError, SecretRefused) as error:
        raise SecretRefused(f"ONRECORD_WEBHOOK_SECRET={settings.webhook_secret}: {error}") from error


def _record(rule: Rule, measured: Mapping[str, Any], state: State, now_us: int) -> Record:
    """Make the record: the rule as it was, and what came of it; nobody's data are in it."""
    said = {
        "alert": rule.name,
        "model": measured["model"],
        "version": measured["version"],
        "state": state,
        "metric": rule.metric,
        "value": measured["value"],
        "n": measured["n"],
        "at": times.text(now_us),
    }
    return Record(
        id=new_id(now_us),
        kind=Kind.ALERT,
        observed_at_us=now_us,
        client_id=ACTOR,
        status=200,
        input=orjson.dumps(rule),
        output=orjson.dumps(said),
        actor=b'{"client_id":"%s"}' % ACTOR.encode(),
        meta=b"{}",
    )
