"""A verdict that cannot be put on record is shown all the same, and recorded by the first engine that can."""

from __future__ import annotations

import json
import resource
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import uvloop

from api.engine import seals
from api.engine.verifier import verified
from api.settings import Settings
from db.engine import open_reader
from db.ledger import Ledger
from db.records import Kind, Record
from db.sealing import LedgerForked
from db.verifications import newest
from tests.engines import Answered, Door, engine_in_thread, is_recorded, recorded, wait_for
from tests.verifications import PATIENCE_S

pytest_plugins = ("tests.deployments",)
ACTOR = {"client_id": "auditor", "jti": "t-3"}


class Stopped:
    """A ledger that takes no verification, as one does that somebody has proof against."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def append(self, records: list[Record]) -> Any:
        """Refuse."""
        if records[0].kind is Kind.VERIFICATION:
            raise LedgerForked("somebody has proof")
        return self._ledger.append(records)


class Late:
    """A ledger that says late that it has a verification on record."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self.gate = ledger, threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def append(self, records: list[Record]) -> Any:
        """Append, and return when told."""
        done = self._ledger.append(records)
        if records[0].kind is Kind.VERIFICATION:
            self.gate.wait(PATIENCE_S)
        return done


def ask(door: Door, what: str, **more: Any) -> Answered:
    """Ask the engine about verifications."""
    return door.ask(do="verification", ask=what, actor=ACTOR, **more)


def verdict(door: Door) -> dict[str, Any]:
    """Wait until the one that runs has ended, and return what is shown of it."""
    found: list[Any] = []

    def has_ended() -> bool:
        found.append(json.loads(ask(door, "running").body))
        return bool(found[-1]["state"] != "running")

    wait_for(has_ended, PATIENCE_S)
    return dict(found[-1])


def test_a_verdict_on_a_stopped_ledger_is_shown_and_recorded_later(settings: Settings) -> None:
    """Who verifies a ledger that takes no more records sees what was found; the next engine puts it on record."""
    with engine_in_thread(settings, around=Stopped) as door:  # type: ignore[arg-type]  # it has what a ledger has
        assert door.predict("housing", {"age": 50}).status == 201
        started = ask(door, "start")
        shown = verdict(door)
        again = ask(door, "start")

    assert (started.status, again.status) == (202, 200)
    assert again.content == shown
    assert (shown["state"], shown["found"]) == ("finished", 0)
    with engine_in_thread(settings) as door:
        wait_for(lambda: json.loads(ask(door, "running").body) is None, PATIENCE_S)
    record = recorded(settings, shown["verification"])
    assert (record.kind, record.client_id) == (Kind.VERIFICATION, "auditor")
    assert json.loads(record.output or b"") == shown
    assert not (settings.var / "verification.json").exists()


def test_what_is_new_begins_where_nothing_was_found_wrong(settings: Settings) -> None:
    """Of what is new, only a state is believed that has the mac of this ledger's key; nobody else may read it."""
    state = settings.var / "verification.reached"
    first, second = verified(settings, "new"), verified(settings, "new")
    kept = state.read_text()
    state.write_text(kept.replace('"size": ', '"size": 1'))
    third = verified(settings, "new")

    assert [each["found"] for each in (first, second, third)] == [0, 0, 0]
    assert [each["since"] for each in (first, second, third)] == [0, first["size"], 0]
    assert (state.read_text(), state.stat().st_mode & 0o777) == (kept, 0o600)


def test_only_everything_finds_what_was_changed_in_what_was_sound(settings: Settings) -> None:
    """A row changed after it was found sound: what is new is sound, everything is not, and then all of it is new."""
    sound = verified(settings, "everything")
    with closing(sqlite3.connect(settings.var / "onrecord.db")) as file, file:
        file.execute("UPDATE alias SET previous = 'no'")
        file.execute("UPDATE payload SET meta = '{}' WHERE record_id = (SELECT id FROM record WHERE idx = 1)")
    new, whole, after = (verified(settings, of) for of in ("new", "everything", "new"))

    assert sound["found"] == 0 < sound["size"]
    assert (new["since"], whole["since"], after["since"]) == (sound["size"], 0, 0)
    assert whole["findings"] == after["findings"] != []


def test_what_was_found_of_another_ledger_is_not_noted(settings: Settings) -> None:
    """A command that verified a copy of something else, with this engine at hand, changes nothing here."""
    name = seals.read(settings.var).key.name
    with engine_in_thread(settings) as door:
        refused = door.receive(
            door.send_body(
                "", json.dumps({"key": f"{name}+00000000"}).encode(),
                do="verification", ask="note", actor=ACTOR, started_at_us=1,
            )
        )  # fmt: skip

    assert (refused[0].status, refused[0].body) == (200, b"null")


def test_starting_it_does_not_copy_the_engine(settings: Settings) -> None:
    """On the loop that engines run on, no page of the engine has to be fetched again: it is not forked."""
    with engine_in_thread(settings, run=uvloop.run) as door:
        engine = bytearray(256 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert ask(door, "start").status == 202
        wait_for(lambda: json.loads(ask(door, "running").body) is None, PATIENCE_S)
        engine[::4096] = bytes(len(engine) // 4096)
        fetched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert fetched < len(engine) // 4096 // 4


def test_who_starts_one_after_another_has_to_wait(settings: Settings) -> None:
    """Each is a record, so one too many in a minute is refused, and is none; others start theirs, and time helps."""
    clock = [1_800_000_000_000_000]
    few = replace(settings, verifications_per_client=2)
    with engine_in_thread(few, clock=lambda: clock[0]) as door:

        def start(client: str) -> int:
            status = door.ask(do="verification", ask="start", actor={"client_id": client, "jti": "t"}).status
            wait_for(lambda: json.loads(ask(door, "running").body) is None, PATIENCE_S)
            return status

        statuses = [start("one"), start("one"), start("one"), start("other")]
        clock[0] += 30_000_000
        statuses.append(start("one"))

    assert statuses == [202, 202, 429, 202, 202]
    reader = open_reader(settings.database_url)
    assert len(newest(reader, 10, None)) == 4
    reader.dispose()


def test_who_sees_one_on_record_can_start_another(settings: Settings) -> None:
    """A start that comes while the one before is on record already, and not yet put away, is a start of its own."""
    made: list[Late] = []

    def late(ledger: Ledger) -> Late:
        made.append(Late(ledger))
        return made[0]

    with engine_in_thread(settings, around=late) as door:
        first = ask(door, "start").content["verification"]
        wait_for(lambda: is_recorded(settings, UUID(first)), PATIENCE_S)
        number = door.send_body("", b"", do="verification", ask="start", actor=ACTOR)
        made[0].gate.set()
        (second,) = door.receive(number)
        wait_for(lambda: json.loads(ask(door, "running").body) is None, PATIENCE_S)

    assert second.status == 202
    assert second.content["verification"] != first
