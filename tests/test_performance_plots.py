"""Performance as pictures: the same figures as in the answer, and alerts that look at them."""

from __future__ import annotations

import asyncio
import json
import random
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.alerting.measuring import measure
from api.alerting.rules import Rule
from api.calls import Answer, Call
from api.drift import Drift
from api.frames import Frames
from api.plots import ink, measured
from db.engine import open_reader
from models.intervals import LEAST
from tests.ledgers import NOON_US, fresh, writing
from tests.test_frames import MODEL
from tests.test_performance_recorded import door, predict, report


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Some predictions of which most outcomes are known."""
    url = fresh("sqlite", request, tmp_path)
    chance = random.Random(1)
    with writing(url) as ledger:
        report(ledger, chance, predict(ledger, chance), 0.8)
    reader = open_reader(url)
    yield reader
    reader.dispose()


def ask(reader: Any, accept: str, **query: str) -> Answer:
    call = Call(path={"model": "income"}, query=query, accept=accept)
    return asyncio.run(door(reader).read(call))


def described(answer: Answer) -> str:
    """Read what a picture says to who cannot see it."""
    assert answer.media_type == ink.MEDIA_TYPE
    assert isinstance(answer.content, bytes)
    return str(ET.fromstring(answer.content)[1].text)


def test_each_plot_says_what_the_answer_says(reader: Any) -> None:
    """Progress, calibration and confusion are drawn from the very figures that JSON has."""
    content = json.loads(ask(reader, "application/json", bucket="day").content)  # type: ignore[arg-type]  # bytes
    accuracy = ink.number(content["buckets"][0]["metrics"]["accuracy_score"]["value"])
    counts = content["confusion_matrix"]["counts"]

    assert f"accuracy_score: {accuracy} on 2026-11-20" in described(ask(reader, ink.MEDIA_TYPE))
    assert f"{counts[0][0] + counts[1][1]} of {content['outcomes']} are right" in described(
        ask(reader, ink.MEDIA_TYPE, plot="confusion")
    )
    area = ink.number(content["metrics"]["roc_auc_score"]["value"])
    assert "In use: off by" in described(ask(reader, ink.MEDIA_TYPE, plot="calibration"))
    assert f"In use: area {area}" in described(ask(reader, ink.MEDIA_TYPE, plot="roc"))
    assert "average precision" in described(ask(reader, ink.MEDIA_TYPE, plot="precision_recall"))
    assert "log_loss" in described(ask(reader, ink.MEDIA_TYPE, metric="log_loss", bucket="hour"))


def test_a_metric_that_there_is_not_is_a_plot_of_nothing(reader: Any) -> None:
    """What has no value yet is said in words."""
    assert described(ask(reader, ink.MEDIA_TYPE, metric="no_such_score")) == "There is no value yet."


def test_a_group_without_a_share_is_left_out() -> None:
    """A bin of too few outcomes has no share, and no dot."""
    few = {"value": None, "low": None, "high": None, "n": 3}
    content = {"kind": "classifier", "metrics": {}, "calibration": [{"predicted": 0.1, "observed": few}]}

    assert b"no outcomes yet" in measured.drawn(content, "calibration")


def test_alerts_measure_performance(reader: Any) -> None:
    """The value of a rule on a metric is that of the answer, and of as many outcomes; an unknown one has none."""
    content = json.loads(ask(reader, "application/json").content)  # type: ignore[arg-type]  # bytes
    target = SimpleNamespace(labels=("a", "b"), positive="b")
    manifest = SimpleNamespace(model="income", version="1", target=target, features=())

    class Known(Drift):
        def manifest(self, *_: object) -> Any:
            return manifest

    drift = Known(
        models={"income": MODEL},
        frames=Frames(models={"income": MODEL}, reader=reader),
        registered=list,
        aliases=list,
        store=Path(),
        clock_us=lambda: NOON_US,
    )
    names = ("performance.accuracy_score", "performance.r2_score")
    wanted = tuple(Rule(name=name, metric=name, window_s=3600, threshold=0.9) for name in names)

    good, unknown = measure(drift, {"income": wanted}, NOON_US + 3_000_000)

    accuracy = content["metrics"]["accuracy_score"]
    assert (good.value, good.n) == (pytest.approx(accuracy["value"]), accuracy["n"])
    assert good.n >= LEAST
    assert (unknown.value, unknown.why) == (None, "the model has no such metric")
