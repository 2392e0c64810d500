"""Scores beyond the first rows of a large request are in an index of their own, and are found like all others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from db import walks
from db.engine import open_reader
from db.lookups import Filter, Lookups, Position
from db.tables import LARGE
from tests.ledgers import DATABASES, NOON_US, fresh, predicted, writing
from tests.test_walks import plans
from tests.worlds import CLIENTS, World, found

SIZES = (3, LARGE, LARGE + 1, 5, LARGE + 300, LARGE - 1, LARGE + 2)
SCORES = {
    "few": Filter(score_min=0.4, score_max=0.403),
    "one": Filter(score_min=0.5, score_max=0.5),
    "most": Filter(score_min=0.2),
    "none": Filter(score_min=1.5),
    "with a label": Filter(score_max=0.02, label=">50K"),
    "of a time": Filter(score_max=0.02, from_us=NOON_US + 1, to_us=NOON_US + 5),
}


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Record requests of many rows and of few, of two clients, in turn."""
    chance = random.Random(16)
    with TemporaryDirectory() as folder:
        url = fresh(request.param, request, Path(folder))
        records = [
            predicted(
                *(
                    (None, chance.choice((">50K", "<=50K")), chance.randrange(1001) / 1000)
                    for _ in range(size)
                ),
                client_id=CLIENTS[number % 2],
                at_us=NOON_US + number,
            )
            for number, size in enumerate(SIZES)
        ]
        with writing(url) as ledger:
            for each in records:
                ledger.append([each])
        rows = [row for idx, each in enumerate(records) for row in found(idx, each)]
        engine = open_reader(url)
        yield World(Lookups(engine), engine, rows[::-1], records)
        engine.dispose()


@pytest.mark.parametrize("rare", [20_000, 3])
@pytest.mark.parametrize("client_id", [None, CLIENTS[0]])
@pytest.mark.parametrize("wanted", SCORES.values(), ids=SCORES)
def test_every_row_of_a_range_is_found_once(
    world: World, wanted: Filter, client_id: str | None, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever position, of one client or of all, rare or common, and newest first over all pages."""
    monkeypatch.setattr(walks, "_RARE", rare)
    wanted = replace(wanted, client_id=client_id)

    assert world.pages(wanted, 1000) == world.expected(wanted)


@pytest.mark.parametrize("client_id", [None, "demo-a"])
@pytest.mark.parametrize("after", [None, Position(10**9, 0)], ids=["first", "next"])
def test_they_are_found_by_one_seek_for_each_large_request(
    world: World, client_id: str | None, after: Position | None
) -> None:
    """What large requests there are, and their scores, are read off the indexes that were made for it."""
    found = "\n".join(plans(world, Filter(client_id=client_id, score_min=0.999), after))

    for index in ("prediction_by_score", "prediction_of_large", "prediction_in_large"):
        assert index in found, found
    if world.engine.dialect.name == "sqlite":
        assert "prediction_in_large (client_id=? AND idx=? AND score>?)" in found, found
