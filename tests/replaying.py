"""Deployments that replay: an engine in a thread, its ledger, a version that hangs, and the processes it starts."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from api.settings import Settings
from db.ledger import Ledger
from db.records import Kind, PredictionRow, Record, new_id
from tests.engines import Door, engine_in_thread, recorded, wait_for


class Deployment:
    """An engine that replays, its ledger, and what the test knows of both."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledgers: list[Ledger] = []

    @contextmanager
    def running(self) -> Iterator[Door]:
        """Run the engine for the length of a block."""

        def keep(ledger: Ledger) -> Ledger:
            self.ledgers.append(ledger)
            return ledger

        with engine_in_thread(self.settings, keep) as door:
            yield door

    def count(self) -> int:
        """Count all records."""
        return int(self.sql("SELECT count(*) FROM record")[0][0])

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement past everything of ours."""
        file = self.settings.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(file, isolation_level=None, timeout=20)) as connection:
            return connection.execute(statement, values).fetchall()

    def record_like(self, original: UUID, version: str = "1", digest: str = "", **meta: object) -> UUID:
        """Append a housing's prediction as it would have been recorded had things been otherwise."""
        found = recorded(self.settings, original)
        name = new_id(found.observed_at_us)
        output = json.loads(found.output.replace(str(original).encode(), str(name).encode()))
        digest = digest or (found.digest or b"").hex()
        about = {"version": version, "digest": digest}
        rows = tuple(
            PredictionRow(position=at, score=each["price"]) for at, each in enumerate(output["predictions"])
        )
        self.ledgers[-1].append(
            [
                Record(
                    id=name,
                    kind=Kind.PREDICTION,
                    observed_at_us=found.observed_at_us,
                    client_id=found.client_id,
                    model="housing",
                    version=version,
                    digest=bytes.fromhex(digest),
                    status=201,
                    input=found.input,
                    output=json.dumps(output | {"version": version}).encode(),
                    actor=found.actor,
                    meta=json.dumps(json.loads(found.meta) | about | meta).encode(),
                    rows=rows,
                )
            ]
        )
        return name


class Stuck(Deployment):
    """A deployment with a version whose replay hangs."""

    def __init__(self, settings: Settings, digest: str) -> None:
        super().__init__(settings)
        self._digest = digest

    def within(self, seconds: int) -> Stuck:
        """Give replays that much time."""
        self.settings = replace(self.settings, replay_deadline_s=seconds)
        return self

    def record(self, door: Door) -> UUID:
        """Record a prediction as if the version that hangs had made it."""
        return self.record_like(predicted(door), version="9", digest=self._digest)


def predicted(door: Door, model: str = "housing", *instances: object) -> UUID:
    """Have something predicted and return its record."""
    number = door.send(model, *(instances or ({"age": 50},)))
    door.receive(number)
    return door.records[number]


def children() -> list[int]:
    """Find the processes of replays that this one has started and that still live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            about = (folder / "stat").read_text().rpartition(")")[2].split()
            is_ours = int(about[1]) == os.getpid() and about[0] != "Z"
            if is_ours and b"models.replay" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def computing() -> int:
    """Wait until one of them is at work on its model, and name it."""
    wait_for(lambda: len(children()) == 1 and _cpu_s(children()[0]) > 4, within_s=90)
    return children()[0]


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
