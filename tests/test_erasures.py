"""What is erased is gone, says so, and takes nothing else with it: no place, no root, no receipt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event

from api.engine.plans import ChangeRefused, Done
from db import driver
from db.audit import audit
from db.engine import open_reader
from db.erased import RecordErased
from db.ledger import Ledger
from db.lookups import Filter, Lookups, RecordNotFound
from db.proofs import Proofs
from db.records import COMMITTED, Appended, Kind, Record, commitment, read_leaf
from tests import auditor, changing, sealed
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, SEAL, fresh, predicted, writing

ALL = {"fields": list(COMMITTED)}
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class World:
    """A ledger of one subject's records among others, and everything that may look at it."""

    url: str
    ledger: Ledger
    reader: Engine
    records: list[Record]
    appended: Appended

    def erase(self, asked: dict[str, Any], now_us: int = NOON_US + 1) -> Done:
        """Erase as the engine does."""
        return changing.change(self.ledger, self.reader, "erasure.add", asked, now_us)

    def findings(self) -> list[str]:
        """Audit with our own verification and with the one that shares nothing with us."""
        ours = audit(self.reader, SEAL.signer.key(), mac_key=SEAL.mac_key).findings
        return [*map(str, ours), *map(str, auditor.audit(self.url))]

    @property
    def lookups(self) -> Lookups:
        return Lookups(self.reader)

    def row(self, number: int) -> tuple[Any, ...]:
        """Read what the payload of a record holds."""
        ((*row,),) = sealed.sql(
            self.url,
            "SELECT p.input, p.output, p.actor, p.meta, p.secret FROM payload p"
            f" JOIN record r ON r.id = p.record_id WHERE r.idx = {number}",
        )
        return tuple(bytes(each) for each in row)


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Write twelve records, every third of subject s-1; in the end the ledger must verify."""
    url = fresh(request.param, request, tmp_path)
    reader = open_reader(url)
    records = [
        predicted(
            (f"s-{number % 3}", ">50K", 0.75),
            (None, "<=50K", 0.25),
            at_us=NOON_US - DAY_US * (12 - number),
            client_id=f"demo-{number % 2}",
        )
        for number in range(12)
    ]
    with writing(url) as ledger:
        world = World(url, ledger, reader, records, ledger.append(records))
        ledger.note()
        yield world
        ledger.note()
        assert world.findings() == []
    reader.dispose()


def test_a_subject_is_erased_by_its_reference(world: World) -> None:
    """E1: everything of one reference goes, the answer counts it, and nothing else is touched."""
    done = world.erase(erasing(reference="s-1"))

    assert (done.result["records"], done.result["predictions"]) == (4, 8)
    for number, record in enumerate(world.records):
        found = world.lookups.record(record.id)
        is_gone = number % 3 == 1
        assert (found.input is None, found.output is None, found.meta is None) == (is_gone,) * 3
        assert found.actor == record.actor
    assert world.lookups.search(Filter(reference="s-1")) == []
    assert len(world.lookups.search(Filter(reference="s-2"))) == 4


def test_what_is_erased_says_so(world: World) -> None:
    """A record says when, by whom, on what ground and by which record it was erased; a prediction only that."""
    done = world.erase(erasing(reference="s-1"))
    gone = world.records[1].id

    (erased,) = world.lookups.record(gone).erasures
    assert (str(erased.erasure), erased.client_id, erased.at_us) == (done.record, "admin-a", NOON_US + 1)
    assert (erased.ground, erased.fields) == ("data-subject-request", ("input", "output", "meta"))
    with pytest.raises(RecordErased) as refused:
        world.lookups.prediction(gone, 0)
    assert refused.value.erasures == (erased,)
    shown = {each.idx: each.is_erased for each in world.lookups.search(Filter(), limit=100)}
    assert [idx for idx, is_erased in shown.items() if is_erased] == [10, 7, 4, 1]
    row = next(each for each in world.lookups.search(Filter(), limit=100) if each.idx == 1)
    assert (row.reference, row.label, row.score) == (None, None, None)


def test_receipts_that_were_kept_stay_valid(world: World) -> None:
    """The leaf, its place and the root do not change: whoever holds receipt and bytes can show both for ever."""
    before = sealed.leaves_of(world.url)
    world.erase(erasing(client="demo-0") | ALL)

    sealed.check(world.appended, world.records)
    assert sealed.leaves_of(world.url)[: len(before)] == before


def test_the_server_can_no_longer_open_what_is_erased(world: World) -> None:
    """A receipt is refused with what erased the record, and nothing stored opens the commitments of the leaf."""
    world.erase(erasing(reference="s-1"))
    world.ledger.note()

    with pytest.raises(RecordErased) as refused:
        Proofs(world.reader).receipt(world.records[1].id)
    assert len(refused.value.erasures) == 1
    *_, secret = world.row(1)
    leaf = read_leaf(sealed.leaves_of(world.url)[1])
    salts = [secret[at : at + 32] for at in range(0, len(secret), 32)]
    for name in ("input", "output", "meta"):
        content = getattr(world.records[1], name)
        assert getattr(leaf, name) not in {commitment(salt, name, content) for salt in salts}
    assert commitment(salts[2], "actor", world.records[1].actor) == leaf.actor


@pytest.mark.parametrize("name", COMMITTED)
def test_one_field_goes_and_the_others_stay_provable(world: World, name: str) -> None:
    """E1, R6: after one field is erased, the others still open their commitments, and no salt opens the erased one."""
    world.erase(erasing(record=str(world.records[1].id)) | {"fields": [name]})

    *contents, secret = world.row(1)
    assert len(secret) == 128
    leaf = read_leaf(sealed.leaves_of(world.url)[1])
    for at, each in enumerate(COMMITTED):
        salt = secret[at * 32 : at * 32 + 32]
        if each == name:
            assert (contents[at], salt) == (b"", bytes(32))
        else:
            assert commitment(salt, each, contents[at]) == getattr(leaf, each)


def test_all_fields_leave_no_payload(world: World) -> None:
    """When nothing is left of a payload its row is gone, and the columns forget who asked."""
    world.erase(erasing(reference="s-1") | ALL)

    for table, column in (("record", "client_id"), ("prediction", "client_id")):
        found = {who for (who,) in sealed.sql(world.url, f"SELECT {column} FROM {table} WHERE idx = 1")}
        assert found == {""}
    assert sealed.sql(world.url, "SELECT count(*) FROM payload") == [(12 - 4 + 1,)]
    with pytest.raises(RecordNotFound):
        world.lookups.record(world.records[1].id, "demo-1")


def test_the_record_of_an_erasure_holds_nothing_personal(world: World) -> None:
    """What was erased is named by its places in the ledger: no reference, no client, no value."""
    by_reference = world.erase(erasing(reference="s-1"))
    by_client = world.erase(erasing(client="demo-0") | ALL, NOON_US + 2)

    for done in (by_reference, by_client):
        record = world.lookups.record(UUID(done.record))
        said = b"".join((record.input or b"", record.output or b"", record.actor or b"", record.meta or b""))
        assert not [each for each in (b"s-1", b"demo-0", b">50K", b"0.75") if each in said]
    args = json.loads(world.lookups.record(UUID(by_reference.record)).input or b"")["args"]
    assert (args["by"], args["ground"], args["reason"]) == (
        "reference",
        "data-subject-request",
        "letter of 3 November",
    )
    assert [group["records"] for group in args["erased"]] == [[[1, 1], [4, 4], [7, 7], [10, 10]]]


def test_erasing_again_erases_nothing(world: World) -> None:
    """A run that was interrupted is run again: what is gone is passed over, and no empty record is written."""
    size = len(sealed.leaves_of(world.url))
    first = world.erase(erasing(client="demo-1"))
    again = world.erase(erasing(client="demo-1"))

    assert (first.result["records"], again.result["records"], again.record) == (6, 0, None)
    assert len(sealed.leaves_of(world.url)) == size + 1
    more = world.erase(erasing(client="demo-1") | ALL, NOON_US + 2)
    assert more.result["records"] == 6  # the actor was left


def test_a_dry_run_only_counts(world: World) -> None:
    """What a dry run counts is what the real one then erases; until then nothing happens."""
    asked = erasing(reference="s-1")
    dry = world.erase(asked | {"dry_run": True})

    assert (dry.record, dry.result["records"], dry.result["predictions"]) == (None, 4, 8)
    assert world.lookups.record(world.records[1].id).input is not None
    assert world.erase(asked).result["records"] == 4


@pytest.mark.parametrize("select", [{"client": "demo-1"}, {"model": "housing"}])
def test_a_reference_can_be_narrowed_down(world: World, select: dict[str, str]) -> None:
    """The same reference of another client or model stays."""
    done = world.erase(erasing(reference="s-1", **select))

    assert done.result["records"] == (2 if "client" in select else 0)


def test_what_is_older_is_erased(world: World) -> None:
    """By age, everything before a time goes and nothing at or after it."""
    done = world.erase(erasing(older_than="2026-11-15T12:00:00Z") | {"under_six_months": True})

    gone = [
        number for number, each in enumerate(world.records) if world.lookups.record(each.id).input is None
    ]
    limit_us = NOON_US - 5 * DAY_US
    assert done.result["records"] == len(gone) > 0
    assert gone == [n for n, each in enumerate(world.records) if each.observed_at_us < limit_us]


def test_one_prediction_takes_its_whole_record_along(world: World) -> None:
    """A commitment covers the whole request, so the answer says how many predictions went."""
    done = world.erase(erasing(prediction=f"{world.records[5].id}.1"))

    assert (done.result["records"], done.result["predictions"]) == (1, 2)


def test_who_erased_can_be_erased_and_what_was_cannot(world: World) -> None:
    """E10: the actor of an erasure may go; its input and output, which say what is gone, may not."""
    done = world.erase(erasing(reference="s-1"))
    own = erasing(record=done.record)

    with pytest.raises(ChangeRefused, match="input and output of a record of kind erasure"):
        world.erase(own | {"fields": ["input", "output", "actor"]}, NOON_US + 2)
    world.erase(own | {"fields": ["actor"]}, NOON_US + 2)

    assert world.lookups.record(UUID(done.record)).actor is None
    (erased,) = world.lookups.record(world.records[1].id).erasures
    assert (erased.client_id, erased.ground) == ("", "data-subject-request")


def test_a_record_that_does_not_exist_is_refused(world: World) -> None:
    """A wrong id is not an erasure of nothing."""
    with pytest.raises(ChangeRefused, match="no such record"):
        world.erase(erasing(record=str(UUID(int=7))))


def test_the_record_comes_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """M12: in one transaction, the record of the erasure is stored before anything is deleted."""
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement.upper())

    def running(connection: Any, text: str, *values: Any, run: Any = driver.run) -> Any:
        statements.append(text.upper())
        return run(connection, text, *values)

    event.listen(world.ledger._engine, "before_cursor_execute", note)
    monkeypatch.setattr(driver, "run", running)  # past SQLAlchemy's events
    world.erase(erasing(reference="s-1") | ALL)

    head = next(at for at, each in enumerate(statements) if each.startswith("UPDATE HEAD"))
    gone = [at for at, each in enumerate(statements) if each.startswith(("DELETE", "UPDATE PREDICTION"))]
    assert gone
    assert head < min(gone)


def test_batches_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One erasure takes a bounded number of records or rows, says where to go on, and ends."""
    monkeypatch.setattr("db.erasure.RECORDS", 3)
    places, counts = -1, []
    for number in range(9):
        done = world.erase(erasing(client="demo-1") | {"after": places}, NOON_US + number)
        counts.append(done.result["records"])
        if "next" not in done.result:
            break
        places = done.result["next"]

    assert sum(counts) == 6
    assert max(counts) == 3
    monkeypatch.setattr("db.erasure.ROWS", 5)
    assert world.erase(erasing(client="demo-0"), NOON_US + 99).result["records"] == 2


def test_kinds_are_numbered_for_ever() -> None:
    """The numbers in leaves mean the same for ever."""
    assert (Kind.ERASURE, Kind.HOLD) == (5, 6)
