"""A ledger full of everything that lookups must tell apart, and what they should find in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Engine

from db.engine import open_reader
from db.lookups import Filter, FoundPrediction, Lookups, Position
from db.records import Record, prediction_id
from tests.ledgers import NOON_US, changed, fresh, predicted, writing
from tests.postgres import name_of

HOUR_US = 3_600_000_000
CLIENTS = ("demo-a", "demo-b", "Demo-a")
MODELS = (("income", "1"), ("income", "2"), ("income", "10"), ("housing", "1"))
REFERENCES = ("1001", "10%", "a_b", "A_b", "naïve", "naïve", " 1001", None)


@dataclass(frozen=True)
class World:
    """A reader and everything that is in its ledger, newest first."""

    lookups: Lookups
    engine: Engine
    all: list[FoundPrediction]
    records: list[Record]

    def expected(self, wanted: Filter) -> list[FoundPrediction]:
        """Find by looking at every row."""
        return [each for each in self.all if matches(each, wanted)]

    def pages(self, wanted: Filter, limit: int) -> list[FoundPrediction]:
        """Follow the pages to the end."""
        found: list[FoundPrediction] = []
        after = None
        while page := self.lookups.search(wanted, after, limit):
            assert len(page) <= limit
            found += page
            after = Position(page[-1].idx, page[-1].position)
        return found


def matches(each: FoundPrediction, wanted: Filter) -> bool:
    """Say what a filter means, once more and in Python."""
    exact = ("client_id", "model", "version", "reference", "label", "has_outcome")
    return (
        all(getattr(wanted, name) in (None, getattr(each, name)) for name in exact)
        and (wanted.score_min is None or (each.score is not None and each.score >= wanted.score_min))
        and (wanted.score_max is None or (each.score is not None and each.score <= wanted.score_max))
        and (wanted.from_us is None or each.observed_at_us >= wanted.from_us)
        and (wanted.to_us is None or each.observed_at_us <= wanted.to_us)
    )


def some_records(count: int) -> Iterator[Record]:
    """Make records of several clients, models and versions, some from clocks that run hours late."""
    chance = random.Random(7)
    for number in range(count):
        model, version = chance.choice(MODELS)
        late_us = chance.choice([0, 0, 0, chance.randrange(2 * HOUR_US)])
        labels = (None,) if model == "housing" else ("<=50K", ">50K", ">50k")
        yield predicted(
            *(
                (chance.choice(REFERENCES), chance.choice(labels), round(chance.random(), 2))
                for _ in range(chance.randrange(1, 4))
            ),
            at_us=NOON_US + number * 60_000_000 - late_us,
            client_id=chance.choice(CLIENTS),
            model=model,
            version=version,
        )


def found(idx: int, record: Record) -> list[FoundPrediction]:
    """Turn a record into what a lookup should find of it."""
    return [
        FoundPrediction(
            id=prediction_id(record.id, row.position),
            idx=idx,
            position=row.position,
            observed_at_us=record.observed_at_us,
            client_id=record.client_id,
            model=str(record.model),
            version=str(record.version),
            reference=row.reference,
            label=row.label,
            score=row.score,
            has_outcome=False,
        )
        for row in record.rows
    ]


SINGLE = {
    "nothing": Filter(),
    "model": Filter(model="income"),
    "version": Filter(model="income", version="10"),
    "version of any model": Filter(version="1"),
    "reference": Filter(reference="a_b"),
    "label": Filter(label=">50K"),
    "lowest score": Filter(score_min=0.9),
    "highest score": Filter(score_max=0.1),
    "scores": Filter(score_min=0.4, score_max=0.6),
    "one score": Filter(score_min=0.5, score_max=0.5),
    "from": Filter(from_us=NOON_US + HOUR_US),
    "to": Filter(to_us=NOON_US + HOUR_US),
    "from and to": Filter(from_us=NOON_US + HOUR_US, to_us=NOON_US + 2 * HOUR_US),
    "with outcome": Filter(has_outcome=True),
    "without outcome": Filter(has_outcome=False),
    "no such model": Filter(model="absent"),
    "no such version": Filter(model="income", version="3"),
    "before everything": Filter(to_us=0),
}


@contextmanager
def filled(kind: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """Fill a ledger of this kind, for tests that only read."""
    records = [*some_records(150), changed(), *some_records(50)]
    with TemporaryDirectory() as folder:
        url = fresh(kind, request, Path(folder))
        with writing(url) as ledger:
            places = [idx for at in range(0, 201, 20) for idx in ledger.append(records[at : at + 20]).places]
        if kind == "postgresql":  # else it plans for a table of which it knows nothing
            request.getfixturevalue("postgres").execute("ANALYZE", name_of(url))
        everything = [row for idx, each in zip(places, records, strict=True) for row in found(idx, each)]
        engine = open_reader(url)
        yield World(Lookups(engine), engine, everything[::-1], records)
        engine.dispose()
