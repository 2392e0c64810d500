"""A lookup costs as little in a long ledger as in a short one: it walks an index, between the right places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from db import walks
from db.engine import open_reader
from db.lookups import Filter, Lookups, Position
from tests.ledgers import DATABASES, NOON_US, fresh, predicted, writing
from tests.worlds import SINGLE, World, filled


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Fill a ledger once for all tests, which only read."""
    with filled(request.param, request) as world:
        yield world


@pytest.fixture(params=[20_000, 3], ids=["rare", "common"])
def _rarity(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the same matches once count as rare, to be collected, and once as common, to be met on the way."""
    monkeypatch.setattr(walks, "_RARE", request.param)


class TestPlans:
    @pytest.mark.usefixtures("_rarity")
    @pytest.mark.parametrize("after", [None, Position(10**9, 0)], ids=["first", "next"])
    @pytest.mark.parametrize("wanted", SINGLE.values(), ids=SINGLE)
    def test_every_filter_of_a_caller_walks_an_index(
        self, world: World, wanted: Filter, after: Position | None
    ) -> None:
        """No search of a client reads a table from one end to the other, on its first page or later."""
        for plan in plans(world, replace(wanted, client_id="demo-a"), after):
            assert "SCAN prediction" not in plan, plan
            assert "SCAN record" not in plan, plan
            assert "Seq Scan on prediction" not in plan, plan
            assert "Seq Scan on record" not in plan, plan

    @pytest.mark.parametrize(
        ("wanted", "index"),
        [
            (Filter(), "prediction_by_client"),
            (Filter(model="income"), "prediction_by_version"),
            (Filter(reference="a_b"), "prediction_by_reference"),
            (Filter(label=">50K"), "prediction_by_label"),
            (Filter(score_min=0.99), "prediction_by_score"),
            (Filter(has_outcome=True), "prediction_with_outcome"),
            (Filter(to_us=NOON_US), "record_by_time"),
        ],
    )
    def test_each_index_is_there_for_a_filter(self, world: World, wanted: Filter, index: str) -> None:
        """Every index that costs the hot path something is used by the lookup it was made for."""
        wanted = replace(wanted, client_id="demo-a")

        assert index in "\n".join(plans(world, wanted) + plans(world, wanted, Position(10**9, 0)))

    @pytest.mark.parametrize(
        ("wanted", "walked"),
        [
            (Filter(client_id="demo-a", score_min=0.0), "prediction_by_client"),
            (Filter(client_id="demo-a", score_min=0.0, score_max=1.0), "prediction_by_client"),
            (Filter(client_id="demo-a", label=">50K", score_min=0.0, score_max=1.0), "prediction_by_label"),
        ],
    )
    def test_the_common_is_met_on_the_way(
        self, world: World, wanted: Filter, walked: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where much matches, nothing is collected and sorted: the newest rows are walked until a page is full."""
        monkeypatch.setattr(walks, "_RARE", 3)

        last = plans(world, wanted)[-1]

        # PostgreSQL knows that a third of everything matches, and may as well walk the primary key.
        assert walked in last or "prediction_pkey" in last
        assert "prediction_by_score" not in last


def plans(world: World, wanted: Filter, after: Position | None = None) -> list[str]:
    """Run a search and let the database explain every statement of it."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        statements.append((statement, values))

    event.listen(world.engine, "before_cursor_execute", note)
    try:
        world.lookups.search(wanted, after)
    finally:
        event.remove(world.engine, "before_cursor_execute", note)
    lite = world.engine.dialect.name == "sqlite"
    found = []
    with world.engine.connect() as connection:
        for plan in () if lite else ("seqscan", "bitmapscan", "sort"):  # cheapest for a few hundred rows only
            connection.execute(text(f"SET enable_{plan} = off"))
        for statement, values in statements:
            explained = connection.exec_driver_sql(
                ("EXPLAIN QUERY PLAN " if lite else "EXPLAIN ") + statement,
                values,
            )
            found.append("\n".join(str(row[-1]) for row in explained))
        connection.invalidate()
    return found


class TestTimes:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_no_clock_can_hide_a_record(
        self, data: st.DataObject, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """However times jump from record to record, a range of times finds exactly the records in it."""
        times = data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=25))
        groups = data.draw(st.integers(1, 5))
        url = fresh("sqlite", request, tmp_path_factory.mktemp("times"))
        with writing(url) as ledger:
            for at in range(0, len(times), groups):
                ledger.append([predicted(at_us=each) for each in times[at : at + groups]])
        engine = open_reader(url)
        first, last = data.draw(st.integers(-1, 51)), data.draw(st.integers(-1, 51))

        page = Lookups(engine).search(Filter(from_us=first, to_us=last), limit=100)
        engine.dispose()

        assert [each.observed_at_us for each in page] == [t for t in times[::-1] if first <= t <= last]


def test_ids_sort_by_time_and_never_repeat() -> None:
    """A later microsecond gives a later id, of version 7, and the same microsecond another one."""
    from db.records import new_id

    ids = [new_id(NOON_US + micros) for micros in range(0, 5000, 7)]

    assert ids == sorted(ids)
    assert {each.version for each in ids} == {7}
    assert ids[0].int >> 80 == NOON_US // 1000
    assert len({new_id(NOON_US) for _ in range(1000)}) == 1000
    assert all(isinstance(each, UUID) for each in ids)
