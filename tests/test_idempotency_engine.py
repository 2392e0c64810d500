"""Keys at the engine: time, crashes, callers who leave, and a second engine of the same ledger (C9, I7)."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.engine.keys import Keys
from api.settings import Settings
from db import idempotency
from db.engine import open_reader, reading
from db.idempotency import LIFETIME_US, KeyTaken
from db.ledger import Ledger
from tests import auditor, sealed
from tests.engines import Answered, Door, Slow, engine_in_thread, settings_of, wait_for
from tests.faults import Mutant
from tests.ledgers import DATABASES, NOON_US, fresh, keyed, predicted, writing
from tests.test_idempotency import asking, count, send

pytest_plugins = ("tests.deployments",)
BODY = b'{"instances": [{"age": 50}]}'


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now_us = NOON_US

    def __call__(self) -> int:
        return self.now_us


class Keyed(Slow):
    """A slow ledger that knows keys."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.hold_key, self.receipt = ledger.hold_key, ledger.receipt


def ask(door: Door, key: str = "k" * 16, body: bytes = BODY, client: str = "tester") -> int:
    """Put a request with a key on its way."""
    named = {"key": key, "operation": "POST /there", "body": hashlib.sha256(body).hexdigest()}
    return door.send_body("housing", body, idempotency=named, client=client)


def answered(door: Door, key: str = "k" * 16, body: bytes = BODY) -> Answered:
    """Send a request with a key and wait."""
    return door.receive(ask(door, key, body))[0]


def rows(settings: Settings) -> int:
    """Count the keys that are stored."""
    ((number,),) = sealed.sql(settings.database_url, "SELECT count(*) FROM idempotency")
    return int(number)


def test_after_a_day_a_key_is_new(settings: Settings) -> None:
    """Until its last moment a key has its answer; then the same request makes another record."""
    clock = Clock()
    with engine_in_thread(settings, clock=clock) as door:
        first = answered(door)
        clock.now_us += LIFETIME_US - 1
        late = answered(door)
        clock.now_us += 1
        new = answered(door)

    assert first.body == late.body != new.body
    assert "Idempotent-Replayed" not in new.head["headers"]
    assert rows(settings) == 1


def test_keys_whose_time_is_over_are_forgotten_in_batches(settings: Settings) -> None:
    """What is purged is what is over, and nothing else."""
    clock = Clock()
    held: list[Any] = []
    with engine_in_thread(settings, around=lambda ledger: held.append(ledger) or ledger, clock=clock) as door:
        for number in range(5):
            answered(door, f"old-{number:016}")
        clock.now_us += LIFETIME_US
        answered(door, "new" * 6)
        keys = Keys(held[0], None, clock)
        wait_for(lambda: keys.purge(held[0]) == 0)

    assert rows(settings) == 1


def test_who_asks_while_it_is_worked_on_is_told_to_wait(settings: Settings) -> None:
    """409 while the first one is under way, 422 where the body is another; then the answer of the first."""
    slow: list[Keyed] = []
    with engine_in_thread(settings, around=lambda ledger: slow.append(Keyed(ledger)) or slow[0]) as door:
        first = ask(door)
        busy, other = answered(door), answered(door, body=b'{"instances": [{"age": 51}]}')
        slow[0].gate.set()
        (answer,) = door.receive(first)
        again = answered(door)

    assert (busy.status, busy.problem, busy.head["headers"]) == (409, "in-flight", {"Retry-After": "1"})
    assert (other.status, other.problem) == (422, "key-reused")
    assert (again.status, again.body, again.head["receipt"]) == (201, answer.body, answer.head["receipt"])
    assert rows(settings) == 1


def test_who_was_told_too_late_and_asks_again_makes_no_second_record(var: Path) -> None:
    """A record that was written after its caller was refused is found under its key, however far the second got."""
    settings = settings_of(var, ONRECORD_ANSWER_DEADLINE_S="1")
    slow: list[Keyed] = []
    with engine_in_thread(settings, around=lambda ledger: slow.append(Keyed(ledger)) or slow[0]) as door:
        late = answered(door)
        second = ask(door)
        wait_for(lambda: json.loads(door.ask(do="state").body)["waiting"] == 1)
        slow[0].gate.set()
        (again,) = door.receive(second)

    assert (late.status, late.problem) == (503, "audit-unavailable")
    assert (again.status, again.head["headers"]) == (201, {"Idempotent-Replayed": "true"})
    assert again.content["record"] == late.content["record"]
    assert rows(settings) == 1


def test_a_request_the_model_refused_is_answered_again(settings: Settings) -> None:
    """A 422 that is on record is an answer like any other."""
    body = b'{"instances": [{"age": "fifty"}]}'
    with engine_in_thread(settings) as door:
        first, again = answered(door, body=body), answered(door, body=body)

    assert (first.status, first.problem, again.status) == (422, "invalid-features", 422)
    assert (first.body, again.head["headers"]) == (again.body, {"Idempotent-Replayed": "true"})


def test_a_caller_who_left_finds_its_answer(settings: Settings) -> None:
    """C9: the record is made although nobody waits, and whoever asks again makes no other."""
    with engine_in_thread(settings) as door:
        with Door(settings.engine_socket) as leaving:
            ask(leaving)
        wait_for(lambda: answered(door).status == 201)
        again = answered(door)

    assert again.head["headers"] == {"Idempotent-Replayed": "true"}
    assert rows(settings) == 1


@pytest.mark.parametrize("kind", DATABASES)
def test_the_database_has_the_last_word(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Two records under one key, in one group or in two, by one pen or another: the second is not appended."""
    url = fresh(kind, request, tmp_path)
    first, second, third = (keyed(predicted()) for _ in range(3))
    with writing(url) as ledger:
        with pytest.raises(KeyTaken) as both:
            ledger.append([first, predicted(), second])
        kept = ledger.append([first, predicted()])
        with pytest.raises(KeyTaken) as late:
            ledger.append([predicted(), third])
        assert ledger.append([first]).places == kept.places[:1]
        reader = open_reader(url)
        assert first.key is not None
        with reading(reader) as connection:
            stored = idempotency.find(connection, first.key.hash, NOON_US)
            assert stored is not None
            assert ledger.receipt(connection, stored) == kept.receipts[0]
        reader.dispose()

    assert (both.value.records, late.value.records) == ({second.id}, {third.id})
    assert sealed.sql(url, "SELECT size FROM head") == [(2,)]
    assert auditor.audit(url) == []


@pytest.mark.parametrize("mutation", ["die-unrecorded", "die-unanswered"])
@pytest.mark.parametrize("kind", DATABASES)
def test_a_killed_engine_leaves_both_or_neither(
    kind: str, mutation: str, request: pytest.FixtureRequest, short_folder: Path
) -> None:
    """Killed before or after COMMIT, unanswered: who asks again gets one answer, and there is one record."""
    url = None if kind == "sqlite" else request.getfixturevalue("postgres").new_database()
    (var := short_folder / uuid.uuid4().hex[:6]).mkdir()
    service = Mutant(mutation, var, url).set_up()
    try:
        with service.start().caller("demo") as caller:
            key, reference = str(uuid.uuid4()), uuid.uuid4().hex
            lost = send(caller, key, asking(reference))
            answer = _until_answered(caller, key, reference)
            again = send(caller, key, asking(reference))

            assert lost.status_code == 503, lost.text
            assert (answer.headers.get("idempotent-replayed") == "true") == (mutation == "die-unanswered")
            assert answer.content == again.content
            assert answer.headers["onrecord-receipt"] == again.headers["onrecord-receipt"]
            assert count(caller, reference) == 1
            assert auditor.audit(service.database_url, caller.seen) == []
    finally:
        service.kill()


def _until_answered(caller: Any, key: str, reference: str) -> httpx.Response:
    until = time.monotonic() + 60
    while (answer := send(caller, key, asking(reference))).status_code != 201:
        assert answer.status_code in (409, 503), answer.text
        assert time.monotonic() < until
        time.sleep(0.05)
    return answer
