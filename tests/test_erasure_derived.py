"""What repeats a prediction goes with it, and stays with it: its replays, and the outcomes that were reported of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from api.engine import changes
from api.engine.plans import ChangeRefused, Done
from db.audit import audit
from db.derivations import Overtaken
from db.engine import open_reader
from db.ledger import Ledger
from db.lookups import Lookups
from db.records import COMMITTED, Record
from tests import auditor, changing, sealed
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, SEAL, fresh, happened, predicted, replayed, writing


@dataclass
class World:
    """A prediction with two instances, outcomes of both, and a replay; and another prediction with an outcome."""

    url: str
    ledger: Ledger
    reader: Engine
    now_us: int = NOON_US + 1
    records: list[Record] = field(default_factory=list)

    def append(self, record: Record) -> int:
        self.records.append(record)
        return self.ledger.append([record]).places[0]

    def change(self, name: str, args: dict[str, Any]) -> Done:
        self.now_us += 1
        return changing.change(self.ledger, self.reader, name, args, self.now_us)

    def erase(self, **select: Any) -> Done:
        return self.change("erasure.add", erasing(**select))

    def there(self) -> list[int]:
        """Name the records that still have request and answer."""
        found = [Lookups(self.reader).record(each.id) for each in self.records]
        return [at for at, each in enumerate(found) if each.output is not None and each.input is not None]

    def outcomes(self) -> list[tuple[Any, ...]]:
        query = "SELECT prediction_idx, position, outcome_idx, value, number FROM outcome ORDER BY 1, 2"
        return sealed.sql(self.url, query)

    def findings(self) -> list[str]:
        ours = audit(self.reader, SEAL.signer.key(), mac_key=SEAL.mac_key).findings
        return [*map(str, ours), *map(str, auditor.audit(self.url))]


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Records 0 and 1 are predictions; 2 to 4 are outcomes and 5 a replay of 0, 6 is an outcome of 1."""
    url = fresh(request.param, request, tmp_path)
    reader = open_reader(url)
    with writing(url) as ledger:
        world = World(url, ledger, reader)
        first = predicted(("r-1", ">50K", 0.75), (None, "<=50K", 0.25))
        second = predicted(("r-2", ">50K", 0.75))
        for each in (
            first,
            second,
            happened(first, 0, ">50K"),
            happened(first, 0, ">50K", position=1),
            happened(first, 0, "<=50K"),
            replayed(first, 0),
            happened(second, 1, 7.5, seen_us=NOON_US - 1),
        ):
            world.append(each)
        yield world
        assert world.findings() == []
    reader.dispose()


def test_replays_and_outcomes_go_with_their_prediction(world: World) -> None:
    """Whatever a request is selected by, all that was made from it goes in the same erasure, and nothing else does."""
    done = world.erase(reference="r-1")

    assert (done.result["records"], done.result["derived"], done.result["predictions"]) == (5, 4, 2)
    assert world.there() == [1, 6]
    assert world.outcomes() == [(0, 0, 4, None, None), (0, 1, 3, None, None), (1, 0, 6, "7.5", 7.5)]
    said = json.loads(Lookups(world.reader).record(UUID(done.record)).input or b"")["args"]
    assert said["derived"] == [[2, 0, 0], [3, 0, 1], [4, 0, 0], [5, 0, None]]


def test_nothing_is_left_of_what_was_wholly_erased(world: World) -> None:
    """With every field, the payloads of replays and outcomes are gone, too; auditors know where they belonged."""
    world.change("erasure.add", erasing(reference="r-1") | {"fields": list(COMMITTED)})

    assert sealed.sql(world.url, "SELECT count(*) FROM payload") == [
        (3,)
    ]  # record 1, its outcome, the erasure


@pytest.mark.parametrize("fields", [["actor"], ["meta"]])
def test_what_replays_do_not_repeat_leaves_them_alone(world: World, fields: list[str]) -> None:
    """Where neither request nor answer goes, only the named record loses something."""
    done = world.change("erasure.add", erasing(reference="r-1") | {"fields": fields})

    assert (done.result["records"], done.result["derived"]) == (1, 0)


def test_an_outcome_can_be_erased_alone(world: World) -> None:
    """By its own id an outcome goes, the prediction stays, and what really happened is no longer known."""
    world.erase(record=str(world.records[6].id))

    assert world.there() == [0, 1, 2, 3, 4, 5]
    assert world.outcomes()[-1] == (1, 0, 6, None, None)
    reported_us = world.records[6].observed_at_us
    times = sealed.sql(
        world.url, "SELECT observed_at_us, reported_at_us FROM outcome WHERE prediction_idx = 1"
    )
    assert times == [(reported_us, reported_us)]


def test_a_late_outcome_of_an_erased_prediction_can_be_erased(world: World) -> None:
    """What is reported after the erasure is kept; erasing the same prediction again takes it."""
    world.erase(reference="r-1")
    late = world.append(happened(world.records[0], 0, ">50K", at_us=NOON_US + 50))

    assert world.outcomes()[0] == (0, 0, late, ">50K", None)
    again = world.erase(prediction=f"{world.records[0].id}.0")
    assert (again.result["records"], again.result["derived"]) == (1, 1)
    assert world.outcomes()[0] == (0, 0, late, None, None)


@pytest.mark.parametrize("select", [{"reference": "r-1"}, {"client": "demo-a"}, {"model": "income"}])
def test_a_hold_on_the_original_keeps_what_was_made_from_it(world: World, select: dict[str, str]) -> None:
    """Neither with its original nor by its own id can a replay or an outcome be erased while the original is held."""
    world.change("hold.add", {"select": select, "reason": "case 7"})

    for each in (world.records[0], world.records[2], world.records[5]):
        with pytest.raises(ChangeRefused, match="held by"):
            world.erase(record=str(each.id))
    assert world.there() == list(range(7))


def test_a_held_replay_stays_when_its_original_goes(world: World) -> None:
    """A hold on the replay alone keeps it, and the answer counts it."""
    world.change("hold.add", {"select": {"record": str(world.records[5].id)}, "reason": "case 7"})
    done = world.erase(reference="r-1")

    assert (done.result["records"], done.result["held"]["records"]) == (4, 1)
    assert world.there() == [1, 5, 6]


def test_a_replay_that_ends_after_the_erasure_is_refused(world: World) -> None:
    """Under the lock on the head the replay sees that its original is gone; an outcome is recorded all the same."""
    ready = replayed(world.records[0], 0)
    world.erase(reference="r-1")

    with pytest.raises(Overtaken) as refused:
        world.ledger.append([predicted(), ready])
    assert refused.value.reasons == {ready.id: "erased"}
    assert sealed.sql(world.url, "SELECT count(*) FROM record") == [(8,)]


def test_a_replay_that_ends_before_the_erasure_is_noticed(world: World) -> None:
    """What was made from a record between looking and erasing makes the erasure look again."""
    asked = changing.asked(world.ledger, world.reader, "erasure.add", erasing(reference="r-1"), NOON_US + 9)
    planned = changes.plan(*asked)
    world.append(replayed(world.records[0], 0))

    with pytest.raises(ChangeRefused, match="changed meanwhile"):
        changes.perform(world.ledger, asked[0], planned)
    assert world.erase(reference="r-1").result["derived"] == 5


def test_many_outcomes_are_erased_batch_by_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more was made from a record than one erasure takes, the record itself goes last."""
    monkeypatch.setattr("db.erasure.RECORDS", 3)
    first = world.erase(record=str(world.records[0].id))
    left = world.there()
    second = world.erase(record=str(world.records[0].id))

    assert (first.result["records"], "next" in first.result, left) == (3, True, [0, 1, 5, 6])
    assert (second.result["records"], "next" in second.result, world.there()) == (2, False, [1, 6])
