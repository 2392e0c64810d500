"""Every filter finds exactly what it should, newest first, by an index, and never a foreign client's row."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from db import lookups, walks
from db.engine import open_reader
from db.lookups import Filter, FoundPrediction, Lookups, Position, RecordNotFound
from db.records import Record, prediction_id
from tests.ledgers import DATABASES, NOON_US, changed, fresh, predicted, writing

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
    url: str

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


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Fill a ledger once for all tests, which only read."""
    records = [*some_records(150), changed(), *some_records(50)]
    with TemporaryDirectory() as folder:
        url = fresh(request.param, request, Path(folder))
        with writing(url) as ledger:
            places = [idx for at in range(0, 201, 20) for idx in ledger.append(records[at : at + 20])]
        everything = [row for idx, each in zip(places, records, strict=True) for row in found(idx, each)]
        engine = open_reader(url)
        yield World(Lookups(engine), engine, everything[::-1], records, url)
        engine.dispose()


@pytest.fixture(params=[20_000, 3], ids=["rare", "common"])
def _rarity(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the same matches once count as rare, to be collected, and once as common, to be met on the way."""
    monkeypatch.setattr(walks, "_RARE", request.param)


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


class TestSearch:
    @pytest.mark.usefixtures("_rarity")
    @pytest.mark.parametrize("client_id", [None, *CLIENTS, "nobody"])
    @pytest.mark.parametrize("wanted", SINGLE.values(), ids=SINGLE)
    def test_all_pages_joined_are_all_matches(
        self, world: World, wanted: Filter, client_id: str | None
    ) -> None:
        """Every filter, for everyone or for one client, gives every match once, newest first."""
        wanted = replace(wanted, client_id=client_id)

        assert world.pages(wanted, 7) == world.expected(wanted)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_all_filters_together_are_all_conditions(
        self, world: World, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any combination of filters finds what fulfils all of them, with pages of any size."""
        score = st.none() | st.integers(0, 100).map(lambda each: each / 100)
        time = st.none() | st.integers(-3 * HOUR_US, 6 * HOUR_US).map(lambda each: NOON_US + each)
        wanted = Filter(
            client_id=data.draw(st.sampled_from((None, *CLIENTS))),
            model=data.draw(st.sampled_from((None, "income", "housing"))),
            version=data.draw(st.sampled_from((None, "1", "2", "10"))),
            reference=data.draw(st.none() | st.sampled_from(REFERENCES)),
            label=data.draw(st.sampled_from((None, None, ">50K", "<=50K"))),
            score_min=data.draw(score),
            score_max=data.draw(score),
            from_us=data.draw(time),
            to_us=data.draw(time),
            has_outcome=data.draw(st.sampled_from((None, None, False))),
        )
        monkeypatch.setattr(walks, "_RARE", data.draw(st.sampled_from((3, 20_000))))

        assert world.pages(wanted, data.draw(st.integers(1, 60))) == world.expected(wanted)

    @pytest.mark.parametrize("reference", ["1001", "10%", "a_b", "A_b", "naïve", "naïve", " 1001"])
    def test_references_are_compared_exactly(self, world: World, reference: str) -> None:
        """Case, accents, spaces and the wildcards of SQL are just characters."""
        page = world.lookups.search(Filter(reference=reference), limit=500)

        assert {each.reference for each in page} == {reference}

    @pytest.mark.parametrize("field", ["client_id", "model", "version", "reference", "label"])
    def test_text_of_a_caller_is_never_sql(self, world: World, field: str) -> None:
        """What looks like SQL is compared with, and finds nothing."""
        assert world.lookups.search(Filter(**{field: "' OR 1=1 --"})) == []

    def test_a_stream_is_the_search_without_pages(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Streaming gives the same rows in the same order, however long the reads are."""
        monkeypatch.setattr(lookups, "_STREAM_PAGE", 13)

        assert list(world.lookups.stream(Filter(client_id="demo-a"))) == world.expected(
            Filter(client_id="demo-a")
        )

    def test_a_stream_does_not_run_after_the_pen(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is appended while a stream is read is not part of it, so that it ends."""
        monkeypatch.setattr(lookups, "_STREAM_PAGE", 2)
        url = fresh("sqlite", request, tmp_path)
        engine = open_reader(url)
        with writing(url) as ledger:
            ledger.append([predicted() for _ in range(5)])
            seen = []
            for each in Lookups(engine).stream(Filter()):
                ledger.append([predicted()])
                seen.append(each.idx)
        engine.dispose()

        assert seen == [4, 3, 2, 1, 0]


class TestOne:
    def test_one_prediction_comes_with_its_exact_bytes(self, world: World) -> None:
        """By its id, an instance is found with its row and all bytes of its record."""
        want, record = world.all[0], world.records[-1]

        instance = world.lookups.prediction(record.id, want.position, record.client_id)

        assert instance.prediction == want
        for field in fields(instance.record):
            if field.name != "idx":
                assert getattr(instance.record, field.name) == getattr(record, field.name)

    def test_a_record_of_any_kind_is_found(self, world: World) -> None:
        """Changes are records like predictions; they have no instances."""
        record = world.records[150]

        assert world.lookups.record(record.id).input == record.input
        with pytest.raises(RecordNotFound):
            world.lookups.prediction(record.id, 0)

    def test_a_foreign_record_looks_like_an_absent_one(self, world: World) -> None:
        """Who asks for another client's id learns nothing, not even that it exists."""
        record = next(each for each in world.records if each.client_id == "demo-a")

        for absent in (record.id, uuid4()):
            for asking in ("demo-b", "Demo-a", ""):
                with pytest.raises(RecordNotFound) as one:
                    world.lookups.prediction(absent, 0, asking)
                with pytest.raises(RecordNotFound) as other:
                    world.lookups.record(absent, asking)
                assert str(one.value) == str(other.value) == str(absent)

    def test_a_position_that_does_not_exist_is_not_found(self, world: World) -> None:
        """A record has as many instances as were asked for."""
        record = world.records[-1]

        for position in (len(record.rows), -1, 2**31 - 1):
            with pytest.raises(RecordNotFound):
                world.lookups.prediction(record.id, position)


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

        # PostgreSQL may well walk the primary key here, for its statistics say that a third of it matches.
        assert walked in last or "prediction_pkey" in last
        assert "prediction_by_score" not in last


def plans(world: World, wanted: Filter, after: Position | None = None) -> list[str]:
    """Run a search and let the database explain every statement of it."""
    statements: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        statements.append((statement, values))

    event.listen(world.engine, "before_cursor_execute", note)
    try:
        world.lookups.search(wanted, after)
    finally:
        event.remove(world.engine, "before_cursor_execute", note)
    lite = world.engine.dialect.name == "sqlite"
    found = []
    with world.engine.connect() as connection:
        if not lite:  # a table of a few hundred rows is cheapest to read whole
            connection.execute(text("SET enable_seqscan = off"))
        for statement, values in statements:
            explained = connection.exec_driver_sql(
                ("EXPLAIN QUERY PLAN " if lite else "EXPLAIN ") + statement,
                values,  # type: ignore[arg-type]
            )
            found.append("\n".join(str(row[-1]) for row in explained))
        if not lite:
            connection.execute(text("RESET enable_seqscan"))
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
