"""A busy pickle is asked in a process of its own: the same answers to the last bit, and nobody depends on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from api.settings import Settings
from models import elsewhere, registry
from models.elsewhere import Elsewhere
from models.features import Column
from models.model import Model, PredictionFailed, PredictionLost
from models.proving import Question
from tests.artefacts import MODEL, Shelf, crashing, line, undefined
from tests.engines import engine_in_thread, wait_for
from tests.families import below, is_alive
from tests.service import ROOT

pytest_plugins = ("tests.deployments",)

STORE = ROOT / "models" / "store"
MODELS = sorted({model for model, _ in registry.listing(STORE)})


ROWS = [{"age": age} for age in (10, 20, 30, 40)]


def children() -> list[int]:
    """Name the living children of this process."""
    return [pid for pid in below(os.getpid()) if is_alive(pid)]


def command(pid: int) -> bytes:
    """Say how a process was started; nothing, where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass
class Asked:
    """A model that is asked elsewhere, and how often it was asked here."""

    model: Model
    elsewhere: Elsewhere
    here: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        assert self.elsewhere._process is not None
        return self.elsewhere._process.pid

    def until_elsewhere(self, rows: int = 4) -> None:
        """Ask until an answer comes from over there."""

        def answered_there() -> bool:
            before = len(self.here)
            self.ask(rows)
            return len(self.here) == before

        wait_for(answered_there)

    def ask(self, rows: int) -> list[Any]:
        """Predict for so many golden instances, over and over the same."""
        golden = self.model.manifest.golden.instances
        instances = [golden[number % len(golden)] for number in range(rows)]
        return list(self.model.predict(self.model.check(instances)))


Opened = Callable[..., Asked]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Load versions of a store, to be asked elsewhere, and end their processes afterwards."""
    places = threading.Semaphore(1)
    with ExitStack() as ends:

        def load(store: Path, model: str, version: str = "1", lie: str | None = None) -> Asked:
            digest, manifest = registry.claimed(store, model, version)
            terms = registry.Terms(manifest=manifest, twin=False)
            loaded = registry.load(store, model, version, digest, terms)

            def here(columns: Sequence[Column]) -> Any:
                asked.here.append(len(columns[0]))
                return loaded.estimate(columns)

            question = Question(store=store, model=model, version=version, digest=lie or digest, terms=terms)
            log = structlog.get_logger().bind(model=model, version=version)
            over_there = Elsewhere(question, {"OMP_NUM_THREADS": "1"}, here, places, log)
            ends.callback(over_there.end)
            asked = Asked(elsewhere.moved(loaded, over_there), over_there)
            return asked

        yield load


@pytest.mark.parametrize("model", MODELS)
def test_what_is_answered_elsewhere_is_the_same_to_the_last_bit(model: str, opened: Opened) -> None:
    """Labels, probabilities and values of every shipped model are those of the same pickle here."""
    asked = opened(STORE, model)
    expected = [asked.ask(rows) for rows in (4, 50, 1000)]
    asked.until_elsewhere()
    asked.here.clear()

    assert [asked.ask(rows) for rows in (4, 50, 1000)] == expected
    assert asked.here == []


def test_only_what_is_worth_it_goes_elsewhere(opened: Opened) -> None:
    """A few rows are asked here, and so are many while no process was worth starting or is ready."""
    asked = opened(STORE, "housing")
    for _ in range(100):
        asked.ask(3)
    for _ in range(elsewhere.CALLS - 1):
        asked.ask(4)
    assert asked.elsewhere._process is None

    asked.until_elsewhere()
    before = len(asked.here)
    asked.ask(3)

    assert asked.here[before:] == [3]


def test_a_lost_process_is_made_up_for_and_comes_back(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is asked when it dies is answered here; later another one takes over."""
    monkeypatch.setattr(elsewhere, "RETRY_S", 0.0)
    asked = opened(STORE, "income")
    expected = asked.ask(64)
    asked.until_elsewhere()
    lost = asked.pid
    os.kill(lost, signal.SIGKILL)

    with capture_logs() as said:
        assert asked.ask(64) == expected
    told = {
        "event": "elsewhere-lost",
        "log_level": "error",
        "model": "income",
        "version": "1",
        "process": lost,
    }
    assert said == [told | {"end": "was ended by SIGKILL", "only_there": False}]
    asked.until_elsewhere()
    assert asked.pid != lost


def test_what_the_process_died_of_is_asked_nowhere_again(tmp_path: Path, opened: Opened) -> None:
    """Such rows fail, and once only; from then on the version is asked in a process alone, for few rows, too."""
    shelf = Shelf(tmp_path / "store")
    shelf.put_estimator("2", crashing(), [(60.0, 20.0)])
    asked = opened(shelf.store, MODEL, "2")
    asked.until_elsewhere()
    asked.here.clear()

    for rows in (4, 1):
        lost = asked.pid
        with capture_logs() as said, pytest.raises(PredictionLost):
            asked.model.predict(asked.model.check([{"age": 10.0}] * rows))
        assert [each["end"] for each in said if each["event"] == "elsewhere-lost"] == ["was ended by SIGSEGV"]
        assert [each.value for each in asked.ask(1) + asked.ask(8)] == [20.0] * 9
        assert asked.pid != lost
    os.kill(asked.pid, signal.SIGKILL)
    assert asked.ask(1)[0].value == 20.0  # what it did not die of is asked of the next one
    assert asked.here == []


def test_no_more_processes_than_there_are_places(opened: Opened) -> None:
    """Who asks for many versions has the second one asked here, until the first one's place is free again."""
    first, second = opened(STORE, "housing"), opened(STORE, "iris")
    first.until_elsewhere()
    for _ in range(2 * elsewhere.CALLS):
        second.ask(4)
    assert second.elsewhere._process is None

    first.elsewhere._lose()
    second.until_elsewhere()


def test_a_version_that_is_refused_there_is_asked_here(opened: Opened) -> None:
    """A file that is not the registered one is not answered from, over there as little as here."""
    asked = opened(STORE, "housing", lie="0" * 64)
    for _ in range(elsewhere.CALLS):
        asked.ask(4)
    process = asked.elsewhere._process
    assert process is not None
    assert process.wait(120) == 0
    asked.ask(4)

    assert asked.elsewhere._process is None
    assert len(asked.here) == elsewhere.CALLS + 1


def test_what_is_no_answer_there_is_refused_here_in_the_words_of_before(
    tmp_path: Path, opened: Opened
) -> None:
    """An estimator that gives what is no number is asked again here, where the refusal names it."""
    shelf = Shelf(tmp_path / "store")
    shelf.put_estimator("2", undefined(), [(1.0, 24.0)])
    asked = opened(shelf.store, MODEL, "2")
    asked.until_elsewhere()

    with pytest.raises(PredictionFailed, match="not finite"):
        asked.model.predict(asked.model.check([{"age": 90.0}] * 4))


@pytest.mark.parametrize("gives", [ValueError("odd"), [["a"]] * 4, [1.0] * 3, [[[1.0]]] * 4])
def test_only_numbers_for_every_row_come_back(gives: Any, tmp_path: Path) -> None:
    """What raises, gives text, another length or another shape is answered by nothing, not by a part of it."""

    class Odd:
        def predict(self, _: Any) -> Any:
            if isinstance(gives, Exception):
                raise gives
            return np.asarray(gives)

    manifest = Shelf(tmp_path / "store").manifest()

    assert elsewhere._numbers(Model(manifest, Odd()), [[50.0] * 4]) == elsewhere._NOTHING
    assert elsewhere._numbers(Model(manifest, line()), []) == elsewhere._NOTHING


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_process_does_not_outlive_whoever_asks(end: signal.Signals) -> None:
    """However the asking process ends, what it has started is gone with it, also where that does not look."""
    code = (
        "import threading, time; from pathlib import Path; from models import elsewhere, registry;"
        "from models.proving import Question; s = Path('models/store'); d, m = registry.claimed(s, 'housing', '1');"
        "q = Question(store=s, model='housing', version='1', digest=d, terms=registry.Terms(manifest=m));"
        "e = elsewhere.Elsewhere(q, {}, len, threading.Semaphore(1), None); e._start();"
        "print(e._process.pid, flush=True); e._process.stdout.read(1); print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as asking:
        assert asking.stdout is not None
        there = int(asking.stdout.readline())
        assert asking.stdout.readline() == "ready\n"
        os.kill(there, signal.SIGSTOP)  # as one that hangs, it does not see the end of its input
        asking.send_signal(end)
    try:
        wait_for(lambda: not is_alive(there))
    finally:
        with suppress(ProcessLookupError):
            os.kill(there, signal.SIGKILL)


def test_a_busy_engine_asks_elsewhere_and_loses_nothing_with_it(settings: Settings) -> None:
    """Under a crowd the pickle is asked in a child of the engine; its death costs nobody an answer."""
    with engine_in_thread(replace(settings, twin=False)) as door:
        answers = door.receive(*(door.send("housing", {"age": 50}, *ROWS) for _ in range(60)))

        def asked_there() -> list[int]:
            door.receive(*(door.send("housing", {"age": 50}, *ROWS) for _ in range(10)))
            return [pid for pid in children() if b"models.elsewhere" in command(pid)]

        wait_for(lambda: bool(asked_there()))
        os.kill(asked_there()[0], signal.SIGKILL)
        answers += door.receive(*(door.send("housing", {"age": 50}, *ROWS) for _ in range(60)))

        assert {each.status for each in answers} == {201}
        assert len({str(each.content["predictions"][0]["price"]) for each in answers}) == 1
    assert not [pid for pid in children() if b"models.elsewhere" in command(pid)]
