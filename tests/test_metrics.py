"""/metrics: what Prometheus' own parser reads of it is what the engine says, and no engine is a figure, too."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from api.calls import Call
from api.line import EngineUnavailable
from api.metrics import Metrics
from tests.service import Service


def gauges(text: str) -> dict[tuple[str, ...], float]:
    """Read every sample, by its name and the values of its labels in the order of their names."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_a_prometheus_reads_what_the_engine_says(service: Service) -> None:
    """Without a token: the engine answers and records, each champion is loaded, and no alert fires unasked."""
    answer = httpx.get(f"{service.url}/metrics")

    found = gauges(answer.text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (found["onrecord_engine_up",], found["onrecord_ledger_writable",]) == (1, 1)
    for model in ("credit", "housing", "income", "iris", "two-features"):
        assert found["onrecord_version_loaded", model, "1"] == 1
    assert found["onrecord_alert_firing", "drifted", "income"] == 0


def test_an_engine_that_does_not_answer_is_a_zero() -> None:
    """Whoever watches must see that, so it is no error."""

    class Dead:
        async def ask(self, _head: object) -> Any:
            raise EngineUnavailable("nobody listens")

    answer = asyncio.run(Metrics(line=Dead()).read(Call()))  # type: ignore[arg-type]  # a line to nobody

    assert isinstance(answer.content, bytes)
    assert gauges(answer.content.decode()) == {("onrecord_engine_up",): 0}
