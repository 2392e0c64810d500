"""A twin answers live, is watched, and is not asked any more from the moment it is caught."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from api.engine import seals, twins
from api.engine.twins import Twins
from api.settings import Settings
from db.audit import audit
from db.engine import open_reader
from db.records import Kind
from db.versions import Registered
from models.model import Model
from tests.artefacts import MODEL, Shelf
from tests.engines import Door, engine_in_thread, price, recorded, wait_for
from tests.replaying import Deployment
from tests.test_twins import LOADED
from tests.twins import graph, put

pytest_plugins = ("tests.deployments",)

LIED_ABOUT = 37.123456  # an age that no golden instance has, and no generator thinks of


@pytest.fixture
def lying(settings: Settings) -> Iterator[Deployment]:
    """Run with a version 2 of housing whose twin passed its proof and lies about one age; everything is checked."""
    shelf = Shelf(settings.var / "store")
    found = put(shelf, "2", graph(LOADED[MODEL], ("Equal", LIED_ABOUT)))
    deployment = Deployment(replace(settings, store=shelf.store, twin_checked=1.0))
    with deployment.running() as door:
        said = door.ask(do="change", name="model.register", args={"model": MODEL, "version": "2"}, actor=ME)
        assert said.content == {
            "model": MODEL,
            "version": "2",
            "digest": found.digest,
            "manifest": found.manifest,
        }
    yield deployment


ME = {"client_id": "me"}


def meta_of(settings: Settings, record: UUID) -> dict[str, Any]:
    """Read what a record says of how it was computed."""
    return dict(json.loads(recorded(settings, record).meta))


def ask(door: Door, settings: Settings, age: float, version: str = "2") -> tuple[float, str]:
    """Ask for a price; return it with the runtime that the record names."""
    number = door.send(MODEL, {"age": age}, version=version)
    answer = door.receive(number)[0]
    return answer.content["predictions"][0]["price"], meta_of(settings, door.records[number])["runtime"]


def twins_of(door: Door) -> dict[str, str]:
    """Ask the engine which twins are off."""
    return dict(door.ask(do="state").content["twins"])


def findings(settings: Settings) -> list[str]:
    """Verify the whole database, and say what is wrong in it."""
    reader = open_reader(settings.database_url)
    try:
        return [str(each) for each in audit(reader, seals.read(settings.var).signer.key()).findings]
    finally:
        reader.dispose()


@pytest.mark.parametrize(("is_on", "runtime"), [(True, "twin:linear"), (False, "pickle")])
def test_a_record_names_what_answered(settings: Settings, is_on: bool, runtime: str) -> None:
    """The twin where it may, the pickle where twins are switched off; the answer is the same, the leaf is not."""
    chosen = replace(settings, twin=is_on)
    with engine_in_thread(chosen) as door:
        came = ask(door, chosen, 50, "1")

    assert came == (pytest.approx(price(50), abs=1e-3), runtime)


def test_a_twin_that_lies_is_caught_recorded_and_off(lying: Deployment) -> None:
    """One wrong answer and it is over: the pickle answers, a record says why, also after a restart."""
    settings = lying.settings
    with lying.running() as door:
        wrong, by = ask(door, settings, LIED_ABOUT)
        caught = door.records[max(door.records)]
        assert (wrong, by) == (pytest.approx(2 * price(LIED_ABOUT), abs=1e-2), "twin:onnx")
        wait_for(lambda: "off since" in twins_of(door).get("housing 2", ""), within_s=60)
        assert ask(door, settings, LIED_ABOUT) == (pytest.approx(price(LIED_ABOUT), abs=1e-3), "pickle")
        assert ask(door, settings, 50, "1")[1] == "twin:linear"

    with lying.running() as door:
        assert ask(door, settings, LIED_ABOUT) == (pytest.approx(price(LIED_ABOUT), abs=1e-3), "pickle")

    ((name,),) = lying.sql("SELECT id FROM record WHERE kind = ?", int(Kind.TWIN))
    found = recorded(settings, UUID(bytes=name))  # type: ignore[arg-type]  # SQLite gives bytes
    args = json.loads(found.input)["args"]
    assert (found.client_id, found.model, found.version) == ("engine", MODEL, "2")
    assert (args["record"], args["position"], args["differs"]) == (str(caught), 0, "score")
    assert "37.12" not in found.input.decode()
    assert findings(settings) == []
    lying.sql("UPDATE version SET twin_off_at_us = NULL")
    assert any("twin_off_at_us is None, its records say" in each for each in findings(settings))


def test_an_operator_lets_a_twin_answer_again(lying: Deployment) -> None:
    """Off and on by command, each on record; it has to prove itself anew, and a second time changes nothing."""
    about = {"args": {"model": MODEL, "version": "2"}, "actor": ME}
    with lying.running() as door:
        assert door.ask(do="change", name="twin.off", **about).content["off_at_us"] > 0
        assert ask(door, lying.settings, 50)[1] == "pickle"
        assert door.ask(do="change", name="twin.off", **about).head["record"] is None
        number = door.ask(do="change", name="twin.on", **about)
        assert number.content["off_at_us"] is None
        assert ask(door, lying.settings, 50)[1] == "twin:onnx"

    assert lying.sql("SELECT count(*) FROM record WHERE kind = ?", int(Kind.TWIN)) == [(2,)]
    assert findings(lying.settings) == []


class Watch:
    """The watch over twins with a table of its own, whose changes fail as long as told."""

    def __init__(self, share: float = 1.0, failures: int = 0) -> None:
        self.model = LOADED[MODEL]
        registered = Registered(model=MODEL, version="1", digest="", manifest=None, registered_at_us=1)
        self.roster: Any = SimpleNamespace(table=SimpleNamespace(versions={(MODEL, "1"): registered}))
        self.failures, self.changes = failures, list[dict[str, Any]]()
        self.twins = Twins(share, self.roster, self._perform)

    async def _perform(self, head: dict[str, Any]) -> None:
        self.changes.append(head)
        if len(self.changes) <= self.failures:
            raise OSError("the disk is full")
        versions = self.roster.table.versions
        versions[MODEL, "1"] = replace(versions[MODEL, "1"], twin_off_at_us=7)

    def offer(self, count: int = 1, wrong: bool = False) -> None:
        """Offer what a twin said of some rows, truly or not."""
        rows = self.model.check([{"age": 50.0}] * count)
        said = self.model.predict(rows)
        said = [each._replace(value=1.0) for each in said] if wrong else said
        if self.twins.draws():
            self.twins.offer(self.model, UUID(int=1), rows, said)

    def run(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.5) -> None:
        """Check a few times, quickly."""
        monkeypatch.setattr(twins, "EVERY_S", 0.01)

        async def for_a_while() -> None:
            task = asyncio.create_task(self.twins.run())
            for _ in range(1000):
                await asyncio.sleep(0.01)
                if not self.twins._samples and not self.twins._caught:
                    break
            task.cancel()

        asyncio.run(for_a_while())


def test_what_is_equal_is_trusted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twin whose answers are the pickle's goes on answering, and nothing is recorded."""
    watch = Watch()
    watch.offer(3)
    watch.run(monkeypatch)

    assert watch.twins.trusts((MODEL, "1"))
    assert (watch.changes, watch.twins.state()) == ([], {})


def test_a_caught_twin_is_off_before_it_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its record cannot be written it stays off, and the record is tried again until it is there."""
    watch = Watch(failures=3)
    watch.offer(2, wrong=True)
    watch.twins._check(watch.twins._samples)

    assert not watch.twins.trusts((MODEL, "1"))
    assert watch.twins.state() == {"housing 1": "off; its pickle answers; not on record yet"}
    watch.run(monkeypatch)
    assert len(watch.changes) == 4
    assert watch.changes[-1]["args"]["differs"] == "score"
    assert "off since 1970-01-01T00:00:00.000007Z" in watch.twins.state()["housing 1"]


def test_checks_are_bounded_and_a_share() -> None:
    """What would be too much is dropped, not waited for; of a share of nothing nothing is kept."""
    watch, never = Watch(), Watch(share=0.0)
    for _ in range(20):
        watch.offer(1000)
        never.offer(1000)

    assert watch.twins._rows == sum(len(each.rows) for each in watch.twins._samples) == 16_000
    assert never.twins._samples == []


def test_a_twin_that_answers_where_the_pickle_fails_is_caught() -> None:
    """No answer is another answer, too."""
    watch = Watch()
    rows = watch.model.check([{"age": 50.0}])
    broken = Model(watch.model.manifest, SimpleNamespace(predict=None))
    watch.twins.offer(broken, UUID(int=1), rows, watch.model.predict(rows))
    watch.twins._check(watch.twins._samples)

    assert watch.twins._caught[MODEL, "1"]["differs"] == "the pickle fails"
