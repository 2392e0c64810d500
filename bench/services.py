"""OnRecord as it is deployed, on a free port of loopback, with the ledger, without its seal, or without any record."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.load import Target, bodies
from bench.rows import Row, instances, persons
from tests.service import ROOT, Service

MODES = ("sealed", "unsealed", "off")
_STOP_S = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A deployment that answers: where to ask it, and which processes it is."""

    target: Target
    pids: tuple[int, ...]
    ready_s: float


def unwind_when_ended() -> None:
    """Turn SIGTERM into an exception, so that every server that was started is ended, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def serving(
    folder: Path,
    mode: str,
    database_url: str | None = None,
    rows: Sequence[Row] | None = None,
    **settings: str,
) -> Iterator[Serving]:
    """Set up and run one deployment: doors and engine apart, so that every mode has the same processes."""
    folder.mkdir(parents=True)
    fixed = {"ONRECORD_TOKEN_LIFETIME_S": "3600", "ONRECORD_LOG_LEVEL": "warning"}
    service = Service(folder, database_url, **fixed, **settings).set_up()
    engine = ["-m", "api", "engine"] if mode == "sealed" else ["-m", "bench.engine", mode]
    start = time.perf_counter()
    with _running(service, engine) as first, _running(service, ["-m", "api", "doors"]) as second:
        service.wait_until_ready()
        ready_s = time.perf_counter() - start
        target = Target(
            url=f"{service.url}/v1/models/income/predictions",
            bodies=bodies(folder / "bodies.txt", [instances([each]) for each in rows or persons(500)]),
            headers={"Authorization": service.caller().http.headers["Authorization"]},
        )
        yield Serving(target=target, pids=(first.pid, second.pid), ready_s=ready_s)


def _running(
    service: Service, arguments: Sequence[str]
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return spawned([sys.executable, *arguments], service.var, service.environment, ROOT)


@contextlib.contextmanager
def spawned(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], at: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its log in a folder; end it, and what it started, by its id."""
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=at or folder, env=dict(environment), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it when it does not; and what it started, known by more than a number."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def memory_mb(pid: int) -> list[float]:
    """Measure a process and all it started: proportional set sizes in MB, which shared pages count in only once."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sizes = []
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes.append(each.memory_full_info().pss / 1e6)
    return sizes


def cpu_s(pids: Iterable[int]) -> float:
    """Add up the processor time that these processes and all they started have used; load by others does not show."""
    return sum(
        sum(each.cpu_times()[:2])
        for pid in pids
        for each in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    )
