"""Replays in trouble: a model that hangs, is killed or asked too often costs its own process and nobody else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import auditor
from tests.changing import erasing
from tests.engines import settings_of, wait_for
from tests.replaying import Deployment, Stuck, children, computing, predicted
from tests.rigged import endless_version
from tests.service import Service

pytest_plugins = ("tests.deployments",)


@pytest.fixture
def stuck(var: Path) -> Iterator[Stuck]:
    """Make a deployment whose store holds a version that takes minutes for one row; audited, too."""
    store = var / "store"
    shutil.copytree("models/store", store)
    chosen = {"ONRECORD_STORE": str(store), "ONRECORD_DRAIN_S": "1"}
    deployment = Stuck(settings_of(var, **chosen), endless_version(store, "9"))
    yield deployment
    assert auditor.audit(deployment.settings.database_url) == []
    assert children() == []


def test_a_model_that_hangs_is_ended_and_the_others_go_on(stuck: Stuck) -> None:
    """At the deadline its process is gone and its caller told so; until then and after, predictions are answered."""
    with stuck.within(8).running() as door:
        original = stuck.record(door)
        before = stuck.count()
        started = time.monotonic()
        number = door.send_replay(original)
        wait_for(lambda: len(children()) == 1)
        meanwhile = 0
        while number not in door.answers:
            assert door.predict("housing", {"age": 50}).status == 201
            meanwhile += 1
        answer = door.answers[number]

        assert time.monotonic() - started < 120
        assert children() == []
        assert door.predict("housing", {"age": 50}).status == 201
    assert (answer.status, answer.problem) == (503, "replay-timeout")
    assert answer.head["headers"] == {"Retry-After": "1"}
    assert meanwhile > 2
    assert stuck.count() == before + meanwhile + 1


def test_a_killed_replay_is_a_clear_problem(stuck: Stuck) -> None:
    """Kill -9 of its process: 503 says that nothing was recorded, which is true; the next replay works."""
    with stuck.within(90).running() as door:
        fine, original = predicted(door), stuck.record(door)
        before = stuck.count()
        number = door.send_replay(original)
        os.kill(computing(), signal.SIGKILL)
        answer = door.receive(number)[0]

        assert stuck.count() == before
        assert door.replay(fine).content["verdict"] == "identical"
    assert (answer.status, answer.problem) == (503, "replay-failed")


def test_the_process_of_a_replay_has_nothing_of_ours(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of the environment, no database, no socket, no key: only what it talks through."""
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://user:secret@host/name")
    monkeypatch.setenv("ONRECORD_ANYTHING", "secret")
    with stuck.within(90).running() as door:
        door.send_replay(stuck.record(door))
        pid = computing()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        links = {int(each.name): str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
        niceness = os.getpriority(os.PRIO_PROCESS, pid)

    assert [
        each for each in environment if b"secret" in each or b"ONRECORD" in each or b"DATABASE" in each
    ] == []
    assert len(environment) < 12
    assert sorted(links) == [0, 1, 2, 3]
    assert {link.partition("[")[0] for link in links.values()} == {"pipe:", "/dev/null"}
    assert niceness == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)


def test_only_a_few_run_at_once(stuck: Stuck) -> None:
    """One more than may run is told at once to come again; and an engine that stops takes them all along."""
    with stuck.within(90).running() as door:
        original = stuck.record(door)
        running = [door.send_replay(original) for _ in range(2)]
        answer = door.receive(door.send_replay(original), within_s=5)[0]
        wait_for(lambda: len(children()) == 2)

        assert door.predict("housing", {"age": 50}).status == 201
        assert not set(running) & set(door.answers)
    assert (answer.status, answer.problem) == (503, "overloaded")
    assert answer.head["headers"] == {"Retry-After": "1"}


def test_a_replay_ends_by_itself_when_nobody_waits_any_more(tmp_path: Path) -> None:
    """Whoever started it may be gone: the process does not live longer than it was given."""
    about = {
        "store": str(tmp_path),
        "model": "housing",
        "version": "9",
        "digest": endless_version(tmp_path, "9"),
        "manifest": None,
        "publishers": None,
        "largest_bytes": 256_000_000,
    }
    question = json.dumps({**about, "libraries": {}, "seconds": 2}).encode()

    done = subprocess.run(
        [sys.executable, "-m", "models.replay"],
        input=question + b'\n{"instances":[{"age":50}]}',
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (-signal.SIGALRM, b"")


def test_what_was_erased_is_not_replayed(var: Path) -> None:
    """The refusal says when, by whom and on what ground, and which record says so; the replays of it can go, too."""
    deployment = Deployment(settings_of(var, ONRECORD_REPLAY_DEADLINE_S="90"))
    with deployment.running() as door:
        original = predicted(door)
        number = door.send_replay(original)
        door.receive(number, within_s=100)
        actor = {"client_id": "eraser"}
        changes = [
            door.ask(do="change", name="erasure.add", args=erasing(record=str(each)), actor=actor)
            for each in (original, door.records[number])
        ]
        answer = door.replay(original)

    assert [each.status for each in changes] == [200, 200], changes
    assert (answer.status, answer.problem) == (410, "erased")
    said = f"by eraser on the ground data-subject-request, says record {changes[0].head['record']}"
    assert answer.content["detail"].endswith(said)
    assert auditor.audit(deployment.settings.database_url) == []
    verified = json.loads(Service(var).command("verify", "--json", check=False).stdout)
    assert verified["findings"] == []


def test_what_was_changed_is_not_replayed(var: Path) -> None:
    """A record whose bytes or columns are not what its leaf commits to is refused, and what is wrong is named."""
    deployment = Deployment(settings_of(var))
    with deployment.running() as door:
        gone, changed, moved = (predicted(door) for _ in range(3))
        deployment.sql("DELETE FROM payload WHERE record_id = ?", gone.bytes)
        deployment.sql(
            "UPDATE payload SET input = replace(input, '50', '51') WHERE record_id = ?", changed.bytes
        )
        deployment.sql("DROP TRIGGER record_forbids_update")
        deployment.sql("UPDATE record SET digest = randomblob(32) WHERE id = ?", moved.bytes)
        answers = [door.replay(each) for each in (gone, changed, moved)]

    assert [(each.status, each.problem) for each in answers] == [(409, "record-changed")] * 3
    words = ("no erasure", "input", "digest")
    assert all(word in each.content["detail"] for word, each in zip(words, answers, strict=True))


def test_the_columns_of_a_replay_are_held_against_its_bytes(var: Path) -> None:
    """Both auditors accept records of replays, and find one whose columns name another model or version."""
    deployment = Deployment(settings_of(var, ONRECORD_REPLAY_DEADLINE_S="90"))
    with deployment.running() as door:
        numbers = [door.send_replay(predicted(door)) for _ in range(2)]
        assert [each.status for each in door.receive(*numbers, within_s=100)] == [201, 201]
    assert auditor.audit(deployment.settings.database_url) == []

    deployment.sql("DROP TRIGGER record_forbids_update")
    for column, number in zip(("model", "version"), numbers, strict=True):
        deployment.sql(f"UPDATE record SET {column} = 'other' WHERE id = ?", door.records[number].bytes)

    verified = json.loads(Service(var).command("verify", "--json", check=False).stdout)
    found = [each["detail"].partition(" ")[0] for each in verified["findings"]]
    assert sorted(found) == ["model", "version"]
    assert len(auditor.audit(deployment.settings.database_url)) == 2
