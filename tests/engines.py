"""An engine without doors: in a thread of the test, or as the real processes, and a door's side of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from api import wire
from api.engine import seals
from api.engine.engine import Engine
from api.engine.roster import Roster
from api.settings import Settings
from db.engine import open_pen, open_reader
from db.ledger import Ledger, LedgerUnavailable
from db.lookups import FoundRecord, Lookups, RecordNotFound
from db.records import Appended, Record, new_id

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answered:
    """One answer as a door gets it."""

    head: dict[str, Any]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head["status"])

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def problem(self) -> str:
        return str(self.content["type"]).rpartition("/")[2]


class Door:
    """Asks over one connection, blocking; `send` and `receive` apart for tests that need many on their way."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._splitter = wire.Splitter(wire.ANSWER_BYTES)
        self._numbers = itertools.count(1)
        self.answers: dict[int, Answered] = {}
        self.records: dict[int, UUID] = {}

    def send(self, model: str, *instances: Any, **head: Any) -> int:
        """Put one request on its way and name its number."""
        return self.send_body(model, json.dumps({"instances": instances}).encode(), **head)

    def send_body(self, model: str, body: bytes, **head: Any) -> int:
        """Put exact bytes on their way."""
        number = next(self._numbers)
        now_us = time.time_ns() // 1000
        self.records[number] = new_id(now_us)
        about: dict[str, Any] = {"do": "predict", "client": "tester", "jti": "t-1"}
        about |= {
            "record": str(self.records[number]),
            "model": model,
            "version": None,
            "alias": None,
            "received_at_us": now_us,
            **head,
        }
        self._socket.sendall(wire.encode(number, about, body))
        return number

    def receive(self, *numbers: int, within_s: float = PATIENCE_S) -> list[Answered]:
        """Wait for these answers; raises TimeoutError where one does not come."""
        until = time.monotonic() + within_s
        while not set(numbers) <= set(self.answers):
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            data = self._socket.recv(wire.READ_BYTES)
            if not data:
                raise ConnectionError("the engine hung up")
            for frame in self._splitter.feed(data):
                assert frame.number not in self.answers, "one request was answered twice"
                self.answers[frame.number] = Answered(frame.head, frame.body)
        return [self.answers[number] for number in numbers]

    def predict(self, model: str, *instances: Any, **head: Any) -> Answered:
        """Ask and wait."""
        return self.receive(self.send(model, *instances, **head))[0]

    def ask(self, **head: Any) -> Answered:
        """Ask anything else and wait."""
        number = next(self._numbers)
        self._socket.sendall(wire.encode(number, head))
        return self.receive(number)[0]

    def send_replay(self, of: UUID | str, position: int | None = None) -> int:
        """Put the replay of a record on its way and name its number."""
        number = next(self._numbers)
        now_us = time.time_ns() // 1000
        self.records[number] = new_id(now_us)
        about = {"do": "replay", "client": "auditor", "jti": "t-2", "of": str(of), "position": position}
        about |= {"record": str(self.records[number]), "received_at_us": now_us}
        self._socket.sendall(wire.encode(number, about))
        return number

    def replay(self, of: UUID | str, position: int | None = None) -> Answered:
        """Have a record replayed and wait: on a busy machine that takes some seconds."""
        return self.receive(self.send_replay(of, position), within_s=100)[0]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def settings_of(var: Path, **chosen: str) -> Settings:
    """Read settings for a var folder as a process would."""
    return Settings.from_environment({"ONRECORD_VAR": str(var), "ONRECORD_ALERTS_EVERY_S": "0", **chosen})


@contextlib.contextmanager
def engine_in_thread(
    settings: Settings,
    around: Callable[[Ledger], Any] = lambda ledger: ledger,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> Iterator[Door]:
    """Run an engine on the real database in a thread; `around` may wrap its ledger. Ends it kindly."""
    pen, reader = open_pen(settings.database_url), open_reader(settings.database_url)
    listening = socket.socket(socket.AF_UNIX)
    settings.engine_socket.unlink(missing_ok=True)
    listening.bind(str(settings.engine_socket))
    listening.listen()
    ends: list[Callable[[], object]] = []
    ready = threading.Event()

    async def live() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(partial(loop.call_soon_threadsafe, stop.set))
        engine = Engine(
            settings,
            around(Ledger(pen, seals.read(settings.var))),
            Roster(reader),
            clock,
        )
        ready.set()
        await engine.run(listening, stop)

    thread = threading.Thread(
        target=run, args=(live(),), daemon=True
    )  # one that hangs keeps nobody from ending
    thread.start()
    assert ready.wait(PATIENCE_S), "the engine did not start"
    try:
        with Door(settings.engine_socket) as door:
            yield door
    finally:
        ends[0]()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the engine did not end"
        listening.close()
        reader.dispose()
        pen.dispose()


def wait_for(claim: Callable[[], bool], within_s: float = PATIENCE_S) -> float:
    """Wait until a claim holds and say how long that took."""
    started = time.monotonic()
    while not claim():
        assert time.monotonic() - started < within_s, "it never came true"
        time.sleep(0.01)
    return time.monotonic() - started


def recorded(settings: Settings, record: UUID | str) -> FoundRecord:
    """Read a record as an auditor would: from the database, past the engine."""
    reader = open_reader(settings.database_url)
    try:
        return Lookups(reader).record(UUID(str(record)), None)
    finally:
        reader.dispose()


def is_recorded(settings: Settings, record: UUID) -> bool:
    """Say whether a record is there."""
    try:
        recorded(settings, record)
    except RecordNotFound:
        return False
    return True


def price(age: float) -> float:
    """The published line of the housing example."""
    return 30.571629 - 0.113412 * age


class Slow:
    """A ledger that lets nothing through until it is opened, and remembers the sizes of its groups."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.gate, self.groups = ledger, threading.Event(), list[int]()

    def append(self, records: Sequence[Record]) -> Appended:
        self.groups.append(len(records))
        self.gate.wait(PATIENCE_S + 10)
        return self.ledger.append(records)

    def note(self) -> bool:
        return self.ledger.note()


class Broken:
    """A ledger that cannot be written until it is mended."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.is_mended = ledger, False

    def append(self, records: Sequence[Record]) -> Appended:
        if not self.is_mended:
            raise LedgerUnavailable("the disk is full")
        return self.ledger.append(records)

    def note(self) -> bool:
        return self.ledger.note()
