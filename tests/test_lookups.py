"""Every filter finds exactly what it should, newest first, and never a foreign client's row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import lookups, walks
from db.engine import open_reader
from db.lookups import Filter, Lookups, Position, RecordNotFound
from tests.ledgers import DATABASES, NOON_US, fresh, predicted, writing
from tests.worlds import CLIENTS, HOUR_US, REFERENCES, SINGLE, World, filled


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Fill a ledger once for all tests, which only read."""
    with filled(request.param, request) as world:
        yield world


@pytest.fixture(params=[20_000, 3], ids=["rare", "common"])
def _rarity(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the same matches once count as rare, to be collected, and once as common, to be met on the way."""
    monkeypatch.setattr(walks, "_RARE", request.param)
    monkeypatch.setattr(walks, "_RECENT", request.param)  # a page of seven is never within three rows


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
        monkeypatch.setattr(walks, "_RECENT", data.draw(st.sampled_from((0, 20, 2_000))))
        monkeypatch.setattr(walks, "_FIRST", data.draw(st.sampled_from((1, 20, 400))))

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

    @pytest.mark.parametrize(
        "wanted",
        [
            Filter(reference="a\0b"),
            Filter(client_id="\ud800"),
            Filter(from_us=10**30),
            Filter(to_us=-(10**30)),
            Filter(score_min=float("nan")),
            Filter(score_min=float("inf")),
        ],
    )
    def test_what_cannot_be_stored_is_not_found(self, world: World, wanted: Filter) -> None:
        """Texts and numbers that no database could hold are no error: nothing matches them."""
        assert world.lookups.search(wanted) == []

    def test_a_place_beyond_all_places_is_before_everything(self, world: World) -> None:
        """A forged position gives the first page again, or nothing, never an error."""
        assert world.lookups.search(Filter(), Position(10**30, 10**30), 1) == world.all[:1]
        assert world.lookups.search(Filter(), Position(-(10**18), 0), 1) == []
        assert len(world.lookups.search(Filter(from_us=-(10**30), to_us=10**30), limit=9)) == 9

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
            if field.name not in ("idx", "erasures"):
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

        for position in (len(record.rows), -1, 2**31 - 1, 2**31, 10**30, -(10**18)):
            with pytest.raises(RecordNotFound):
                world.lookups.prediction(record.id, position)
