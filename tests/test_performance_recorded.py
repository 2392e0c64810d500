"""Metrics of the ledger are those of a full recomputation, however many blocks there are and whatever was corrected."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sklearn import metrics

from api import contract
from api.calls import Call
from api.frames import Frames
from api.performance import Performance
from api.problems import RequestRefused
from api.schemas import Schema
from db import heads
from db.engine import open_reader
from db.ledger import Ledger
from db.records import Record
from models.metrics import METHODS, Target, measure
from tests import auditor, changing, sealed
from tests.answering import recorded
from tests.blocking import make_blocks
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, fresh, happened, writing
from tests.service import Caller
from tests.test_frames import MODEL, frame_of

TARGET = Target(labels=("a", "b"), positive="b")
REQUESTS, SPAN = 60, 16
SCHEMAS = contract.read(Path("openapi"), 10).document["components"]["schemas"]
SCHEMA = Schema(SCHEMAS["Performance"], SCHEMAS)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger, and audit in the end what became of it."""
    url = fresh(request.param, request, tmp_path)
    yield url
    assert auditor.audit(url) == []


def predict(ledger: Ledger, chance: random.Random) -> list[tuple[Record, int]]:
    """Predict one to three instances a time; return what was recorded and where."""
    found = []
    for number in range(REQUESTS):
        pairs = []
        for _ in range(1 + number % 3):
            share = chance.random()
            instance = {"age": number, "sex": chance.choice("fm"), "reference": f"r-{number}"}
            pairs.append((instance, {"label": "ab"[share > 0.5], "probability": share}))
        found.append(recorded(*pairs, at_us=NOON_US + number))
    return list(zip(found, ledger.append(found).places, strict=True))


def report(ledger: Ledger, chance: random.Random, predicted: list[tuple[Record, int]], share: float) -> None:
    """Say of some predictions, in any order, what happened; of some for the second time."""
    chosen = [(*each, at) for each in predicted for at in range(len(each[0].rows)) if chance.random() < share]
    chance.shuffle(chosen)
    ledger.append(
        [
            happened(record, place, chance.choice("ab"), position=at, at_us=NOON_US + 100 + number)
            for number, (record, place, at) in enumerate(chosen)
        ]
    )


def pairs_of(url: str) -> list[tuple[str, str, float]]:
    """Read truth, label and score of everything known, row by row, off the tables of lookups."""
    query = (
        "SELECT o.value, p.label, p.score FROM outcome o JOIN prediction p ON p.idx = o.prediction_idx"
        " AND p.position = o.position WHERE o.value IS NOT NULL AND p.label IS NOT NULL ORDER BY p.idx, p.position"
    )
    return [(str(truth), str(label), float(score)) for truth, label, score in sealed.sql(url, query)]


def check(url: str) -> None:
    """Compare every number with scikit-learn's of those pairs."""
    pairs = pairs_of(url)
    found = measure(frame_of(url).frame, TARGET)
    truth, labels, scores = zip(*pairs, strict=True)
    is_b = [each == "b" for each in truth]
    expected = {
        "accuracy_score": metrics.accuracy_score(truth, labels),
        "balanced_accuracy_score": metrics.balanced_accuracy_score(truth, labels),
        "roc_auc_score": metrics.roc_auc_score(is_b, scores),
        "average_precision_score": metrics.average_precision_score(is_b, scores),
        "log_loss": metrics.log_loss(is_b, scores),
        "brier_score_loss": metrics.brier_score_loss(is_b, scores),
    }

    assert found.outcomes == len(pairs)
    assert {name: each.value for name, each in found.metrics.items()} == pytest.approx(expected)
    assert [list(row) for row in found.confusion] == metrics.confusion_matrix(truth, labels).tolist()


def show(url: str) -> None:
    """Ask as a door does, by time and by both features: the answer is as the contract says, and adds up."""
    reader = open_reader(url)
    try:
        handler = door(reader)
        for by in ("age", "sex"):
            call = Call(path={"model": "income"}, query={"bucket": "hour", "by": by})
            shown = json.loads(asyncio.run(handler.read(call)).content)
            assert SCHEMA.violations(shown)[0] == []
            for parts in (shown["buckets"], shown["slices"]):
                assert sum(each["outcomes"] for each in parts) == shown["outcomes"] == len(pairs_of(url))
        with pytest.raises(RequestRefused, match="validation"):
            asyncio.run(handler.read(Call(path={"model": "income"}, query={"by": "shoe_size"})))
    finally:
        reader.dispose()


def door(reader: Any) -> Performance:
    """Make a handler that reads this ledger."""
    return Performance(
        models={"income": MODEL},
        frames=Frames(models={"income": MODEL}, reader=reader),
        registered=lambda: [],
        store=Path(),
        size=lambda: heads.read(reader).size,
    )


def erase(url: str, **select: Any) -> None:
    """Erase what is selected."""
    reader = open_reader(url)
    try:
        with writing(url) as ledger:
            changing.change(ledger, reader, "erasure.add", erasing(**select), NOON_US + 900)
    finally:
        reader.dispose()


def test_blocks_corrections_and_erasures_change_what_they_must(url: str) -> None:
    """Before blocks, with some, after corrections, with all, and after erasures of either kind: as computed anew."""
    chance = random.Random(7)
    with writing(url) as ledger:
        predicted = predict(ledger, chance)
        report(ledger, chance, predicted, 0.6)
        check(url)
        make_blocks(ledger, url, SPAN, at_most=4)
        check(url)
        report(ledger, chance, predicted, 0.4)
        check(url)
        make_blocks(ledger, url, SPAN)
        check(url)
        show(url)
    before = len(pairs_of(url))

    erase(url, reference="r-8")
    erase(url, record=newest_of(url))
    assert len(pairs_of(url)) < before
    check(url)
    with writing(url) as ledger:
        assert make_blocks(ledger, url, SPAN) > 0
        check(url)


def newest_of(url: str) -> str:
    """Name the newest record of an outcome."""
    ((name,),) = sealed.sql(url, "SELECT id FROM record WHERE kind = 10 ORDER BY idx DESC LIMIT 1")
    return str(UUID(bytes=name) if isinstance(name, bytes) else name)


def test_performance_over_http(demo: Caller) -> None:
    """Predictions are counted at once; without outcomes every metric says so, and what is asked wrongly is named."""
    for age in range(12):
        assert demo.predict("housing", {"age": 20 + age}).status_code == 201
    address = "/v1/models/housing/performance"
    found = demo.http.get(address, params={"version": "1", "bucket": "month", "by": "age"})

    assert found.status_code == 200, found.text
    assert found.json()["n"] >= 12
    assert set(found.json()["metrics"]) <= set(METHODS)
    assert demo.http.get(address).json() == demo.http.get(address).json()
    assert demo.http.get(address, params={"by": "size"}).json()["errors"][0]["parameter"] == "by"
    assert demo.http.get(address, params={"version": "99"}).status_code == 404
    nothing = demo.http.get(address, params={"from": "2030-01-01T00:00:00Z", "bucket": "week"}).json()
    assert (nothing["n"], nothing["buckets"]) == (0, [])
