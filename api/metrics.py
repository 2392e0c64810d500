"""What a Prometheus reads: whether the engine answers, what waits, what is loaded, and which alerts fire.

Nothing is counted here. The engine says what is so, and a door that asks it passes that on: every door says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.calls import Answer, Call
from api.line import EngineUnavailable, Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Asks the engine for its state, as readiness does."""

    line: Line

    async def read(self, _call: Call) -> Answer:
        """Write it in Prometheus' text format; an engine that does not answer is a 0, not an error."""
        try:
            state = orjson.loads((await self.line.ask({"do": "state"})).body)
        except EngineUnavailable:
            state = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_State(state))
        return Answer(content=generate_latest(registry), media_type="text/plain")


class _State(Collector):
    """One state of the engine, to be collected once."""

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = self._state
        yield _gauge("onrecord_engine_up", "Whether the engine answers.", [({}, state is not None)])
        if state is None:
            return
        writable = state["ledger"] == "writable"
        yield _gauge("onrecord_ledger_writable", "Whether records can be written.", [({}, writable)])
        yield _gauge("onrecord_requests_waiting", "Requests inside the engine.", [({}, state["waiting"])])
        began = state["started_at_us"] / 1e6
        yield _gauge("onrecord_engine_started_seconds", "When the engine began, since 1970.", [({}, began)])
        loaded = [
            ({"model": each["model"], "version": each["version"]}, bool(each.get("loaded")))
            for each in state["models"]
        ]
        yield _gauge("onrecord_version_loaded", "Whether a version can answer.", loaded)
        yield from _alerts(state["alerts"])


def _alerts(alerts: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    """Show each alert's state, and what was measured last where anything was."""
    named = [
        ({"model": model, "alert": each["alert"]}, each)
        for model, listed in alerts.items()
        for each in listed
    ]
    firing = [(labels, each["state"] == "firing") for labels, each in named]
    yield _gauge("onrecord_alert_firing", "Whether an alert of a model's contract fires.", firing)
    values = [(labels, each["value"]) for labels, each in named if "value" in each]
    yield _gauge("onrecord_alert_value", "What an alert measured last.", values)
    counts = [(labels, each["n"]) for labels, each in named if "n" in each]
    yield _gauge(
        "onrecord_alert_predictions", "Of how many predictions, or outcomes, it measured that.", counts
    )


def _gauge(name: str, about: str, samples: list[tuple[dict[str, str], Any]]) -> GaugeMetricFamily:
    labels = list(samples[0][0]) if samples else []
    family = GaugeMetricFamily(name, about, labels=labels)
    for given, value in samples:
        family.add_metric([given[label] for label in labels], float(value))
    return family
