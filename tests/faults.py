"""Faults on purpose: processes found and killed, and builds of the service that break a promise.

Each crash test has to show first that it can fail. `python -m tests.faults <mutation> serve` is the real service with
one thing wrong in its engine, supervisor and doors included; `Mutant` starts it where a `Service` starts the
right one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.families import GONE_WITHIN_S, below, is_alive, wait_until
from tests.postgres import Postgres
from tests.service import ROOT, Caller, Service

SERVER_DOWN_S = 0.8
SLOW_COMMIT_S = 0.02  # long enough that under load a kill finds answers given and records not yet written


def command_of(pid: int) -> list[str]:
    """Say what a process was started with; nothing for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def engine_of(service: Service) -> int:
    """Find the process that holds the pen: the one forked by the engine's parent, not that parent."""
    assert service.process is not None
    engines = [pid for pid in below(service.process.pid) if "engine" in command_of(pid)]
    assert len(engines) == 2, f"{len(engines)} engine processes, where a parent and its child were expected"
    return engines[1]  # a parent is named before what it started


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """From when on nothing could be recorded, up to when for certain, and when what was killed was there again."""

    since: float
    until: float
    again: float


def kill_engine(service: Service) -> Gap:
    """Kill the process that holds the pen; the service itself makes that good."""
    os.kill(engine_of(service), signal.SIGKILL)
    at = time.monotonic()
    return Gap(since=at, until=at, again=at)


def restart_everything(service: Service) -> Gap:
    """Kill the whole group at once and start again; nothing may live on, wherever it was started."""
    assert service.process is not None
    family = [service.process.pid, *below(service.process.pid)]
    service.kill()
    at = time.monotonic()
    wait_until(lambda: not any(is_alive(pid) for pid in family), GONE_WITHIN_S)
    service.start()
    return Gap(since=at, until=at, again=at)


def restart_server(postgres: Postgres, stop: Callable[[Postgres], None]) -> Gap:
    """Stop PostgreSQL the hard way, leave it down for a while, and start it again."""
    stop(postgres)
    since = time.monotonic()
    time.sleep(SERVER_DOWN_S)
    until = time.monotonic()
    postgres.start()
    return Gap(since=since, until=until, again=time.monotonic())


def kill_server(postgres: Postgres) -> None:
    """Kill PostgreSQL's first process; the others notice and end, as they must before it can start again."""
    first = int((postgres.data / "postmaster.pid").read_text().split()[0])
    family = [first, *below(first)]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in family), GONE_WITHIN_S)
    # Where nobody collects orphans, as in many containers, a dead process keeps its number and its lock seems held.
    (postgres.data / "postmaster.pid").unlink()
    for lock in postgres.folder.glob(".s.PGSQL.*.lock"):
        lock.unlink()


def commit(caller: Caller, reference: str) -> None:
    """Ask for a prediction and wait until it is on record, which with a mutant may be after its answer."""
    answer = caller.predict("housing", {"age": 50, "reference": reference})
    assert answer.status_code == 201, answer.text
    record = f"/v1/records/{answer.json()['record']}"
    wait_until(lambda: caller.http.get(record).status_code == 200, GONE_WITHIN_S)


@contextmanager
def traced(pid: int, file: Path) -> Iterator[Path]:
    """Write down the system calls of a process and all its threads that sync, or write to files and sockets."""
    calls = "fsync,fdatasync,pwrite64,write,sendto,sendmsg,writev"
    command = ["strace", "-f", "-yy", "-s", "16384", "-e", f"trace={calls}", "-o", str(file), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        try:
            wait_until(lambda: is_traced_by(pid, strace.pid), GONE_WITHIN_S)
            yield file
        finally:
            strace.send_signal(signal.SIGINT)  # it lets go and ends


def is_traced_by(pid: int, tracer: int) -> bool:
    """Say whether all threads of a process are traced by another one."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return {int(status.partition("TracerPid:")[2].split()[0]) for status in statuses} == {tracer}


def order_of(trace: str, reference: str) -> Iterator[str]:
    """Read a trace as what P1 is about: when a record was written to the WAL and synced, and when an answer left.

    The record is known by a reference in it: events, notes and other people's records are written to the WAL, too. A
    sync counts from its end and an answer from its beginning, whatever another thread did between.
    """
    begun: dict[str, str] = {}
    is_written = False
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        resumed = call.startswith("<... ")
        if resumed:
            call = begun.pop(thread)
        elif call.endswith("<unfinished ...>"):
            begun[thread] = call
        if _is_answer(call) and not resumed:
            yield "answered"
        elif "-wal>" in call and thread not in begun:
            is_sync = "sync(" in call
            is_written = is_written or (not is_sync and reference in call)
            if is_written and (is_sync or reference in call):
                yield "WAL synced" if is_sync else "WAL written"


def _is_answer(call: str) -> bool:
    return "<UNIX" in call and '{\\"status\\":201' in call


class Mutant(Service):
    """The service with one thing wrong in it."""

    def __init__(self, mutation: str, var: Path, database_url: str | None = None, **settings: str) -> None:
        super().__init__(var, database_url, **settings)
        self.mutation = mutation

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the mutated build where the right one would be started."""
        with (self.var / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults", self.mutation, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process


def answer_before_commit() -> None:
    """Let answers leave first and write the records afterwards, as logging servers do (M1)."""
    from api.engine.committing import Committer

    def write(self: Committer) -> None:
        group = self._drain()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._release, [each.answer for each in group])
        time.sleep(SLOW_COMMIT_S)
        self._ledger.append([each.record for each in group])

    Committer._write = write  # type: ignore[method-assign]  # that is what a mutation is


def commit_without_fsync() -> None:
    """Let SQLite commit without syncing the WAL: nothing a killed process would miss, all that a power cut takes."""
    from db import sqlite

    pragmas = {pragma: (wanted, expected) for pragma, wanted, expected in sqlite._PEN}
    pragmas["synchronous"] = ("NORMAL", 1)
    sqlite._PEN = tuple((pragma, *values) for pragma, values in pragmas.items())


def die_once(*, recorded: bool) -> None:
    """Kill the engine at the first request with a key, before its record is made or before it is answered."""
    from api.engine import committing

    append = committing._append
    died = Path(os.environ["ONRECORD_VAR"], "died")

    def dying(ledger: Any, group: Sequence[Any]) -> Any:
        is_time = any(each.record.key for each in group) and not died.exists()
        if is_time and recorded:
            append(ledger, group)
        if is_time:
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return append(ledger, group)

    committing._append = dying


def main(mutation: str, arguments: Sequence[str]) -> None:
    """Be the mutated service; its supervisor starts its parts from here, too."""
    from api import __main__
    from api.processes import supervisor

    MUTATIONS[mutation]()
    supervisor._ONRECORD = (sys.executable, "-m", "tests.faults", mutation)  # type: ignore[assignment]  # same shape
    __main__.main(list(arguments), prog_name="python -m api")


MUTATIONS: dict[str, Callable[[], None]] = {
    "answer-before-commit": answer_before_commit,
    "commit-without-fsync": commit_without_fsync,
    "die-unrecorded": partial(die_once, recorded=False),
    "die-unanswered": partial(die_once, recorded=True),
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
