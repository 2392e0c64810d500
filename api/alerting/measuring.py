"""What rules measure, found out in a process of its own: numpy and scipy must not keep the engine from answering.

`python -m api.alerting.measuring` reads one question from stdin and writes one answer to stdout. It opens the
database for reading, holds no key and loads no model.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

import db.versions
from api import contract
from api.alerting.rules import ESTIMATE, OUTPUT, PERFORMANCE, Rule
from api.catalog import ModelUnknown
from api.drift import Drift, Span
from api.frames import Frames
from api.problems import RequestRefused
from db.engine import open_reader
from models.manifest import Manifest

NICE = 10  # callers come first


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one rule measured: no value where nothing can be said, and then why; `n` rows speak for it."""

    model: str
    rule: str
    version: str | None = None
    value: float | None = None
    n: int = 0
    why: str | None = None


def measure(drift: Drift, rules: Mapping[str, tuple[Rule, ...]], now_us: int) -> list[Measured]:
    """Measure every rule of every model, each window of each model once."""
    found = []
    for model, of_model in rules.items():
        try:
            manifest = drift.manifest(model, None)
        except (ModelUnknown, RequestRefused) as refused:
            why = f"there is no champion to be measured ({refused or type(refused).__name__})"
            found += [Measured(model=model, rule=rule.name, why=why) for rule in of_model]
            continue
        window = functools.cache(functools.partial(_window, drift, manifest, now_us))
        found += [_of(window(_is_performance(rule), rule.window_s), rule, manifest) for rule in of_model]
    return found


def _is_performance(rule: Rule) -> bool:
    return rule.metric.startswith(PERFORMANCE)


def _window(drift: Drift, manifest: Manifest, now_us: int, is_performance: bool, window_s: int) -> Any:
    """Look at one window of the champion: how good it was, or how far it has moved."""
    span = Span(from_us=now_us - window_s * 1_000_000, to_us=now_us)
    return drift.performed(manifest, span) if is_performance else drift.judge(manifest, span)[0]


def _of(window: Any, rule: Rule, manifest: Manifest) -> Measured:
    if _is_performance(rule):
        metric = window.metrics.get(rule.metric.removeprefix(PERFORMANCE))
        value, n = (None, 0) if metric is None else (metric.value, metric.n)
        why = "the model has no such metric" if metric is None else metric.reason
    else:
        (value, why), n = _value(rule, window), window["n"]
    said = {"model": manifest.model, "version": manifest.version}
    return Measured(rule=rule.name, value=value, n=n, why=why, **said)


def _value(rule: Rule, judged: dict[str, Any]) -> tuple[float | None, str | None]:
    if rule.metric.startswith(ESTIMATE):
        estimate, name = judged["estimate"], rule.metric.removeprefix(ESTIMATE)
        if "refused" in estimate:
            return None, str(estimate["refused"])
        return estimate["metrics"].get(name), None
    columns = {each["name"]: each for each in judged["features"]} | {OUTPUT: judged["output"]}
    wanted = columns.values() if rule.feature is None else [columns[rule.feature]]
    return max(_of_column(rule.metric, each) for each in wanted), None


def _of_column(metric: str, column: dict[str, Any]) -> float:
    found = column[metric]
    return float(found["value"] if isinstance(found, dict) else found)


def main() -> None:
    """Be the process: answer one question."""
    os.nice(NICE)
    question = orjson.loads(sys.stdin.buffer.read())
    models = contract.models(Path(question["contract"]))
    reader = open_reader(question["database_url"])
    try:
        drift = Drift(
            models=models,
            frames=Frames(models=models, reader=reader),
            registered=lambda: db.versions.listing(reader),
            aliases=lambda: db.versions.aliases(reader),
            store=Path(question["store"]),
            clock_us=lambda: question["now_us"],
        )
        rules = {model: each.alerts for model, each in models.items() if each.alerts}
        sys.stdout.buffer.write(orjson.dumps(measure(drift, rules, question["now_us"])))
    finally:
        reader.dispose()


if __name__ == "__main__":
    main()
