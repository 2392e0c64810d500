"""What is under a legal hold is not erased, and everything else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from api.engine.plans import ChangeRefused, Done
from db import holds
from db.audit import audit
from db.engine import open_reader
from db.ledger import Ledger
from db.lookups import Lookups
from db.records import Record
from tests import auditor, changing, sealed
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, SEAL, fresh, predicted, writing

UNTIL, UNTIL_US = "2026-12-20T12:00:00Z", NOON_US + 30 * 86_400_000_000


class World:
    """A ledger with two records: (s-1, demo-a, income) and (s-2, demo-b, housing)."""

    def __init__(self, url: str, ledger: Ledger, reader: Engine) -> None:
        self.url, self.ledger, self.reader = url, ledger, reader
        self.one = predicted(("s-1", ">50K", 0.75), client_id="demo-a")
        self.two = predicted(("s-2", None, 7.5), client_id="demo-b", model="housing")
        ledger.append([self.one, self.two])
        self._now_us = NOON_US

    def change(self, name: str, args: dict[str, Any], now_us: int | None = None) -> Done:
        """Make a change, each a moment after the last one."""
        self._now_us += 1
        return changing.change(self.ledger, self.reader, name, args, now_us or self._now_us)

    def hold(self, **select: Any) -> str:
        """Begin a hold and name it."""
        done = self.change("hold.add", {"select": select, "reason": "case 7", "until": UNTIL})
        return str(done.result["hold"])

    def has(self, record: Record) -> bool:
        """Say whether a record still has what went in."""
        return Lookups(self.reader).record(record.id).input is not None


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Open a ledger that must verify in the end."""
    url = fresh(request.param, request, tmp_path)
    reader = open_reader(url)
    with writing(url) as ledger:
        yield World(url, ledger, reader)
    assert audit(reader, SEAL.signer.key(), mac_key=SEAL.mac_key).findings == ()
    reader.dispose()
    assert auditor.audit(url) == []


@pytest.mark.parametrize("by", ["record", "prediction", "reference", "client", "model"])
def test_a_hold_blocks_an_erasure_until_it_is_lifted(world: World, by: str) -> None:
    """E7: whatever it is on, nothing of it goes, the refusal names the hold, and once it is lifted all goes."""
    selects = {
        "record": str(world.one.id),
        "prediction": f"{world.one.id}.0",
        "reference": "s-1",
        "client": "demo-a",
        "model": "income",
    }
    hold = world.hold(**{by: selects[by]})

    for select in ({"record": str(world.one.id)}, {"reference": "s-1"}, {"client": "demo-a"}):
        with pytest.raises(ChangeRefused, match=hold) as refused:
            world.change("erasure.add", erasing(**select))
        assert refused.value.slug == "held"
    assert world.has(world.one)
    world.change("hold.lift", {"hold": hold, "reason": "case closed"})
    assert world.change("erasure.add", erasing(reference="s-1")).result["records"] == 1
    assert not world.has(world.one)


def test_only_what_is_held_is_skipped(world: World) -> None:
    """An erasure of several records takes those that are free, and counts those that are not with their holds."""
    hold = world.hold(reference="s-1")
    done = world.change(
        "erasure.add", erasing(older_than="2027-01-01T00:00:00Z") | {"under_six_months": True}
    )

    assert (done.result["records"], done.result["held"]) == (1, {"records": 1, "holds": [hold]})
    assert (world.has(world.one), world.has(world.two)) == (True, False)


def test_a_hold_ends_by_itself(world: World) -> None:
    """E7: up to its end it holds, from then on it does not."""
    world.hold(client="demo-a")

    with pytest.raises(ChangeRefused, match="held by"):
        world.change("erasure.add", erasing(reference="s-1"), UNTIL_US - 1)
    assert world.change("erasure.add", erasing(reference="s-1"), UNTIL_US).result["records"] == 1


def test_a_hold_that_has_ended_already_says_so(world: World) -> None:
    """Whoever mistypes a year is told that nothing is held."""
    select = {"client": "demo-a"}
    done = world.change("hold.add", {"select": select, "reason": "r", "until": "2020-01-01T00:00:00Z"})

    assert done.result["active"] is False
    assert world.change("erasure.add", erasing(reference="s-1")).result["records"] == 1


def test_later_records_of_a_held_reference_are_held(world: World) -> None:
    """A hold is on what comes, too."""
    world.hold(reference="s-9")
    world.ledger.append([late := predicted(("s-9", ">50K", 0.5))])

    with pytest.raises(ChangeRefused, match="held by"):
        world.change("erasure.add", erasing(record=str(late.id)))
    assert world.has(late)


def test_a_held_reference_is_not_stored(world: World) -> None:
    """Neither the table nor the record of the hold has the reference; its hash needs a key that is not there."""
    world.hold(reference="s-77")

    for statement in ("SELECT * FROM hold", "SELECT input, output, actor, meta FROM payload"):
        for row in sealed.sql(world.url, statement):
            assert not [
                each for each in row if isinstance(each, bytes | memoryview) and b"s-77" in bytes(each)
            ]
            assert "s-77" not in row


def test_under_another_key_nothing_is_erased(world: World) -> None:
    """Where nobody can say which references are held, nothing is erased, and the cure is named."""
    world.hold(reference="s-1")
    other = holds.key_of(bytes(32))
    sealed.sql(world.url, "UPDATE hold SET reference = ?", holds.hashed("s-1", other))
    try:
        with pytest.raises(ChangeRefused, match="lift that hold and hold it anew"):
            world.change("erasure.add", erasing(reference="s-2"))
    finally:
        sealed.sql(world.url, "UPDATE hold SET reference = ?", holds.hashed("s-1", world.ledger.hold_key))


def test_a_hold_that_comes_in_between_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding and erasing a hold may begin: under the lock it is looked at again, and nothing is erased."""
    keep = Ledger.change

    def change(self: Ledger, *args: Any) -> Any:
        monkeypatch.undo()
        world.hold(client="demo-a")
        return keep(self, *args)

    monkeypatch.setattr(Ledger, "change", change)
    with pytest.raises(ChangeRefused) as refused:
        world.change("erasure.add", erasing(reference="s-1"))

    assert refused.value.slug == "moved"
    assert world.has(world.one)


def test_what_is_not_there_cannot_be_held_or_lifted(world: World) -> None:
    """An unknown record, an unknown hold and a hold lifted twice are refused."""
    hold = world.hold(record=str(world.one.id))
    world.change("hold.lift", {"hold": hold, "reason": "over"})

    for name, args in (
        ("hold.add", {"select": {"record": str(UUID(int=7))}, "reason": "r"}),
        ("hold.lift", {"hold": hold, "reason": "r"}),
        ("hold.lift", {"hold": str(UUID(int=7)), "reason": "r"}),
    ):
        with pytest.raises(ChangeRefused):
            world.change(name, args)


def test_holds_are_listed(world: World) -> None:
    """The list shows what is held, why, until when, and since when no more."""
    one, two = world.hold(client="demo-a"), world.hold(model="income")
    world.change("hold.lift", {"hold": one, "reason": "over"})

    listed = {str(each.id): each for each in holds.listing(world.reader)}
    assert (listed[one].client_id, listed[one].reason, listed[one].until_us) == ("demo-a", "case 7", UNTIL_US)
    assert listed[one].lifted_at_us is not None
    assert [listed[each].is_active(NOON_US + 9) for each in (one, two)] == [False, True]
