"""The engine as processes: killed, told to stop, started twice, orphaned."""

from __future__ import annotations

import contextlib
import json
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.engine import pen
from api.settings import Settings
from tests.engines import (
    Door,
    is_recorded,
    settings_of,
    wait_for,
)
from tests.families import is_alive, kill
from tests.service import Service

pytest_plugins = ("tests.deployments",)


@contextlib.contextmanager
def engine_process(var: Path, **chosen: str) -> Iterator[tuple[subprocess.Popen[bytes], Settings]]:
    """Run `python -m api engine` until the block ends."""
    service = Service(var, **chosen)
    settings = settings_of(var, **chosen)
    process = service.spawn("engine")
    try:
        wait_for(lambda: asked(settings) == 201)
        yield process, settings
    finally:
        service.kill()


def pid_of(settings: Settings) -> int:
    """Ask the engine who it is."""
    with Door(settings.engine_socket) as door:
        return int(door.ask(do="state").content["pid"])


def parent_of(pid: int) -> int:
    """Say which process started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def asked(settings: Settings) -> int:
    """Ask for one price over a new connection; 0 where nobody answers."""
    with contextlib.suppress(OSError), Door(settings.engine_socket) as door:
        return door.predict("housing", {"age": 50}).status
    return 0


def flowers(settings: Settings, count: int) -> list[Any]:
    """As many iris instances as wanted."""
    golden = json.loads((settings.store / "iris" / "1" / "manifest.json").read_text())["golden"]["instances"]
    return [golden[place % len(golden)] for place in range(count)]


def test_only_its_own_user_may_talk_to_the_engine(var: Path) -> None:
    """The socket is born with mode 0600."""
    with engine_process(var) as (_, settings):
        assert stat.S_IMODE(settings.engine_socket.stat().st_mode) == 0o600


def test_a_killed_engine_answers_again_without_an_import(var: Path) -> None:
    """Kill -9 of the engine: its parent, which has imported everything, forks another one at once."""
    with engine_process(var) as (_, settings):
        killed = pid_of(settings)
        parent = parent_of(killed)
        kill(killed)
        wait_for(lambda: asked(settings) == 201)

        assert killed != pid_of(settings)
        assert parent == parent_of(pid_of(settings))


def test_sigterm_answers_what_was_taken_and_exits_0(var: Path) -> None:
    """A stopping engine answers every request that it has taken, then ends well and takes its socket away."""
    with engine_process(var) as (process, settings), Door(settings.engine_socket) as door:
        door.predict("iris", *flowers(settings, 1))
        numbers = [door.send("iris", *flowers(settings, 500)) for _ in range(20)]
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        answers = door.receive(*numbers)

        assert process.wait(timeout=120) == 0
    # What arrived after the signal is told so; nothing is left without an answer, and nothing answered unrecorded.
    assert {201} <= {each.status for each in answers} <= {201, 503}
    for number, answer in zip(numbers, answers, strict=True):
        assert (answer.status == 201) == is_recorded(settings, door.records[number])
    assert not settings.engine_socket.exists()


def test_an_engine_does_not_outlive_its_parent(var: Path) -> None:
    """Kill -9 of the parent: the engine sees its lifeline close, drains and ends."""
    with engine_process(var) as (process, settings):
        child = pid_of(settings)
        process.kill()
        process.wait()

        wait_for(lambda: not is_alive(child))


def test_a_second_engine_is_refused_while_the_first_serves(var: Path) -> None:
    """One process holds the pen of a var folder; another one says so and exits with 2."""
    with engine_process(var) as (_, settings):
        second = Service(var).command("engine", check=False)

        assert second.returncode == 2
        assert "pen.lock is locked" in second.stderr
        assert asked(settings) == 201


def test_the_pen_goes_to_one_at_a_time(tmp_path: Path) -> None:
    """Who holds the pen is alone with it; who puts it down gives it to the next."""
    with pen.held(tmp_path), pytest.raises(pen.PenTaken), pen.held(tmp_path, wait_s=0.05):
        pass
    with pen.held(tmp_path):
        pass


def test_a_database_of_another_schema_is_refused(var: Path) -> None:
    """An engine does not write into tables it does not know: exit code 2 and the command that cures it."""
    (var / "onrecord.db").unlink()
    refused = Service(var).command("engine", check=False)

    assert refused.returncode == 2
    assert "python -m api setup" in refused.stderr
