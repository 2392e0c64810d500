"""The supervisor: whatever dies comes back, whatever stops stops in order, and nothing is ever left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.commands import announcing
from api.commands.announcing import Announcement
from tests.engines import settings_of, wait_for
from tests.families import below, is_alive, kill
from tests.pages import Person
from tests.service import Caller, Service

pytest_plugins = ("tests.deployments",)
ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def serving(var: Path, *options: str, **settings: str) -> Iterator[Service]:
    """Run `serve` until the block ends; afterwards none of its processes may be left, however it ended."""
    service = Service(var, **settings)
    try:
        service.spawn("serve", *options)
        service.wait_until_ready()
        yield service
    finally:
        left = [*below(service.process.pid)] if service.process else []
        service.kill()
        wait_for(lambda: not any(map(is_alive, left)))


def part(service: Service, name: str, *, at: int = 0) -> int:
    """Find a process of the service by its command: doors, or engine (its parent first, then itself)."""
    assert service.process is not None
    commands = {
        pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in below(service.process.pid)
    }
    return [pid for pid, words in commands.items() if name.encode() in words][at]


def tell(service: Service, number: signal.Signals) -> None:
    """Signal the supervisor; Ctrl-C, as a terminal sends it, reaches every process of its group."""
    assert service.process is not None
    (os.killpg if number == signal.SIGINT else os.kill)(service.process.pid, number)


def priced(service: Service) -> bool:
    """Say whether a price is answered over a new connection with a new token."""
    with contextlib.suppress(httpx.HTTPError):
        caller = service.caller()
        with caller.http:
            return caller.predict("housing", {"age": 50}).status_code == 201
    return False


@pytest.fixture(scope="module")
def lasting(another: Callable[[], Path]) -> Iterator[Service]:
    """Run one service for all tests after which it has to serve as before."""
    with serving(another()) as service:
        yield service


@pytest.mark.parametrize(("name", "at"), [("doors", 0), ("engine", 0), ("engine", 1)])
def test_what_is_killed_comes_back_by_itself(lasting: Service, name: str, at: int) -> None:
    """A door, the engine's parent, the engine: after kill -9 the service answers again, under another process.

    How soon is measured where it means something: by the soak of tests/test_crashes.py.
    """
    assert priced(lasting)
    killed, parent = part(lasting, name, at=at), part(lasting, "engine")
    kill(killed)

    wait_for(lambda: priced(lasting))
    assert part(lasting, name, at=at) != killed
    assert (part(lasting, "engine") == parent) == (killed != parent)  # the imports are paid for once


def test_while_one_door_is_down_the_other_takes_the_calls(var: Path) -> None:
    """All doors accept on one socket, so a killed one costs at most the calls it had."""
    with serving(var, "--doors", "2") as service:
        caller = service.caller()
        kill(part(service, "doors"))
        statuses = []
        for _ in range(20):
            with httpx.Client(base_url=service.url, headers=caller.http.headers, timeout=60) as once:
                answer = once.post("/v1/models/housing/predictions", json={"instances": [{"age": 50}]})
                statuses.append(answer.status_code)
        caller.http.close()

        assert statuses == [201] * 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_leaves_nothing(var: Path, number: signal.Signals) -> None:
    """SIGTERM, or Ctrl-C in the terminal (which reaches every process of the group), ends all of it with 0."""
    with serving(var) as service:
        assert service.process is not None
        everyone = [*below(service.process.pid)]
        tell(service, number)

        assert service.process.wait(timeout=120) == 0
        assert [pid for pid in everyone if is_alive(pid)] == []
        assert not (var / "engine.sock").exists()
    ended = [json.loads(line)["name"] for line in service.log().splitlines() if '"part-ended"' in line]
    assert ended == ["door 1", "engine"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_in_flight_are_answered_while_it_stops(var: Path, number: signal.Signals) -> None:
    """Told to stop in the middle of traffic: what was taken is answered, with an engine still there for it."""
    statuses: list[int] = []
    refused = threading.Event()

    with serving(var) as service:
        assert service.process is not None

        def call(caller: Caller) -> None:
            with caller.http:
                while not refused.is_set():
                    try:
                        statuses.append(caller.predict("iris", *flowers(50)).status_code)
                    except httpx.HTTPError:
                        refused.set()

        callers = [threading.Thread(target=call, args=(service.caller(),)) for _ in range(4)]
        for each in callers:
            each.start()
        wait_for(lambda: len(statuses) > 20)
        tell(service, number)
        code = service.process.wait(timeout=120)
        for each in callers:
            each.join(timeout=120)

    assert code == 0
    assert set(statuses) == {201}


def flowers(count: int) -> list[Any]:
    """As many iris instances as wanted."""
    manifest = json.loads((ROOT / "models/store/iris/1/manifest.json").read_text())
    return [manifest["golden"]["instances"][0]] * count


def test_a_killed_supervisor_takes_everything_with_it(var: Path) -> None:
    """Kill -9 of the supervisor alone: doors and engine see their lifeline close, drain and end."""
    with serving(var) as service:
        assert service.process is not None
        everyone = [*below(service.process.pid)]
        assert len(everyone) >= 3
        service.process.kill()
        service.process.wait()

        wait_for(lambda: not any(map(is_alive, everyone)))


def test_a_taken_port_is_refused_with_its_number_and_the_cure(lasting: Service) -> None:
    """The port is bound before anything starts: exit code 2, one line, and the running service is unharmed."""
    second = Service(lasting.var).command("serve", "--port", str(lasting.port), check=False)

    assert second.returncode == 2
    assert f"ONRECORD_PORT={lasting.port} is taken by another process" in second.stderr
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr
    assert priced(lasting)


def test_a_door_that_cannot_start_ends_it_with_the_reason(var: Path) -> None:
    """A key that others can read: no restart cures that, so all of it ends with 2 and says what to do."""
    (var / "keys" / "cursor.key").chmod(0o644)
    refused = Service(var).command("serve", check=False)

    assert refused.returncode == 2
    assert "chmod 600" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_door_that_refuses_later_is_tried_until_it_is_cured(lasting: Service) -> None:
    """What served once is worth waiting for: the rest stays up, and the door is back when its key is."""
    (lasting.var / "keys" / "cursor.key").chmod(0o644)
    kill(part(lasting, "doors"))
    wait_for(lambda: "chmod 600" in lasting.log())
    (lasting.var / "keys" / "cursor.key").chmod(0o600)

    wait_for(lambda: priced(lasting))


def test_engine_and_doors_can_run_apart(var: Path) -> None:
    """Two commands, as in two containers: the doors answer as soon as the engine does.

    While it is away nothing can be voided: who signs out is out, and told until when a copy of the cookie is good.
    """
    engine, doors = Service(var), Service(var)
    try:
        engine.spawn("engine")
        doors.spawn("doors")
        doors.wait_until_ready()

        assert priced(doors)
        with Person(doors) as person, Person(doors) as thief:
            person.sign_in()
            thief.http.cookies.update(person.http.cookies)
            engine.kill()
            answer = person.send("/sign-out", {}, seen="/")
            after = person.look("/")
            copied = thief.look("/")
        assert (answer.status_code, "Signed out, in this browser only" in answer.text) == (503, True)
        assert re.search(r"could go on until \d+ \w+ 20\d\d, \d\d:\d\d:\d\d UTC", answer.text)
        assert ("Signed in as" in after.text, "Signed in as" in copied.text) == (False, True)
    finally:
        doors.kill()
        engine.kill()


def test_the_lines_it_prints_work_when_pasted(lasting: Service) -> None:
    """`serve` prints three lines for a shell: a token, a prediction, and that prediction looked up."""
    wait_for(lambda: "reference=house-1" in lasting.log())
    lines = [line for line in lasting.log().splitlines() if line.startswith(("TOKEN=", "curl "))]
    output = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], capture_output=True, text=True, check=True
    ).stdout

    assert len(lines) == 3
    assert "24.901049" in output
    assert output.count('"reference":"house-1"') == 2


def test_a_slow_start_is_complained_of_once_and_announced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who waits longer than usual reads why, and where the service is as soon as it answers."""
    states = ["loading", "loading", "", ""]
    monkeypatch.setattr(announcing, "PATIENCE_S", -1.0)
    monkeypatch.setattr(Announcement, "_ready", lambda _self: states.pop(0))
    announcement = Announcement(settings_of(tmp_path))

    for _ in range(4):
        announcement.tick()

    said = capsys.readouterr().out
    assert (said.count("loading"), said.count("OnRecord answers at")) == (1, 1)


def test_debug_restarts_when_the_contract_changes(var: Path, tmp_path: Path) -> None:
    """`serve --debug` notices an edit of code or contract and starts the parts anew, with full traces."""
    for room in ("api", "db", "models", "migrations", "openapi"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    service = Service(var)
    with (var / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--debug"],
            cwd=tmp_path,
            env=service.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    service.process = process
    try:
        service.wait_until_ready()
        before = part(service, "doors")
        (tmp_path / "openapi" / "openapi.yaml").touch()

        wait_for(lambda: not is_alive(before))
        service.wait_until_ready()
        assert part(service, "doors") != before
    finally:
        service.kill()
