"""`python -m bench.peers`: OnRecord beside other servers, in one run, each round in turn.

Every peer gets a virtualenv of its own under ~/.cache/onrecord-bench, made from the package index once; who cannot be
installed or started is a row of a table that says so. OnRecord checks tokens and contract, signs, and commits every
request; of the others only one commits anything. All defaults take a quarter of an hour, `--install` only installs.
"""

from __future__ import annotations

import argparse
import contextlib
import pickle
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench import load, rounds, services
from bench.load import Target
from bench.peers import servers, targets
from bench.peers.apps import income
from bench.peers.servers import NotInstalled, Peer
from bench.results import Report
from bench.rounds import Figures
from bench.rows import Row, instances
from tests.postgres import Postgres
from tests.service import free_port

_READY_S = 120.0
OURS = (
    ("OnRecord, SQLite", "sealed", "on"),
    ("OnRecord, SQLite, twin off", "sealed", "off"),
    ("OnRecord, PostgreSQL", "sealed", "on"),
    ("OnRecord, nothing on record", "off", "on"),
    ("OnRecord, nothing on record, twin off", "off", "off"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers rightly: where, how long it took to get there, and its memory before any load."""

    name: str
    target: Target
    many: bytes
    pids: tuple[int, ...]
    ready_s: float
    idle_mb: float


class NotStarted(Exception):
    """It was installed, but never gave the answer that the pickle gives."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each server at each number of connections")
    parser.add_argument("--seconds", type=float, default=4, help="of load per round")
    parser.add_argument("--only", nargs="+", help="words in the names of those to compare")
    parser.add_argument(
        "--install", action="store_true", help="make the environments of the peers, and leave"
    )
    chosen = parser.parse_args(arguments)
    if chosen.install:
        _install(chosen.only)
        return
    load.need_wrk()
    report = Report("OnRecord and its peers")
    missing: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        running = list(_ours(stack, Path(name), chosen.only)) + list(
            _theirs(stack, Path(name), chosen.only, missing)
        )
        alone, crowded = (_compare(report, running, connections, chosen) for connections in (1, 64))
        large = _large(report, running, chosen)
        rows = [[each.name, each.ready_s, each.idle_mb, _memory(each)] for each in running]
        columns = ["server", "start to first right answer, s", "idle, MB", "after the load, MB by process"]
        report.table("start and memory (proportional set sizes)", columns, rows)
        targets.judge(report, alone, crowded, large, {each.name: each for each in running})
    if missing:
        report.table("not measured", ["server", "reason"], missing)
    report.write()


def _install(only: Sequence[str] | None) -> None:
    for peer in servers.peers():
        if _is_wanted(peer.name, only):
            try:
                print(f"{peer.name}: {peer.install()}", flush=True)
            except NotInstalled as reason:
                print(f"{peer.name}: {reason}", flush=True)


def _is_wanted(name: str, only: Sequence[str] | None) -> bool:
    return only is None or any(word.lower() in name.lower() for word in only)


def _ours(stack: contextlib.ExitStack, folder: Path, only: Sequence[str] | None) -> Iterator[Running]:
    """Start OnRecord: one door and one engine, on SQLite, on PostgreSQL, and keeping nothing; twin on and off."""
    rows = servers.rows_for_all()
    for number, (name, mode, twin) in enumerate(OURS):
        if not _is_wanted(name, only):
            continue
        url = None
        if "PostgreSQL" in name:
            url = stack.enter_context(Postgres(folder / f"server{number}")).new_database()
        serving = stack.enter_context(
            services.serving(folder / f"ours{number}", mode, url, rows, ONRECORD_TWIN=twin)
        )
        yield Running(
            name=name,
            target=serving.target,
            many=instances(rows_many(rows)),
            pids=serving.pids,
            ready_s=serving.ready_s,
            idle_mb=sum(mb for pid in serving.pids for mb in services.memory_mb(pid)),
        )


def _theirs(
    stack: contextlib.ExitStack, folder: Path, only: Sequence[str] | None, missing: list[list[object]]
) -> Iterator[Running]:
    for number, peer in enumerate(servers.peers()):
        if not _is_wanted(peer.name, only):
            continue
        own = folder / f"peer{number}"
        own.mkdir()
        try:
            yield _started(stack, peer, own)
        except (NotInstalled, NotStarted) as reason:
            print(f"{peer.name}: {reason}", flush=True)
            missing.append([peer.name, str(reason)[:300]])


def _started(stack: contextlib.ExitStack, peer: Peer, own: Path) -> Running:
    """Start one peer and wait for the answer that the pickle gives."""
    folder = peer.install()
    rows = servers.rows_for_all()
    port = free_port()
    environment = {**servers.python_path(folder), **peer.environment, "HOME": str(own)}
    if peer.needs_database:
        environment["BENCH_DATABASE"] = f"sqlite:///{own}/peer.db"
    command = peer.command(folder, own, port)
    start = time.perf_counter()
    process = stack.enter_context(services.spawned(command, own, environment))
    target = Target(
        url=f"http://127.0.0.1:{port}{peer.path}",
        bodies=load.bodies(own / "bodies.txt", [peer.body([row]) for row in rows]),
        headers={},
    )
    _wait_for_the_right_answer(process, peer, target.url, rows, own)
    return Running(
        name=f"{peer.name} ({peer.release(folder)})",
        target=target,
        many=peer.body(rows_many(rows)),
        pids=(process.pid,),
        ready_s=time.perf_counter() - start,
        idle_mb=sum(services.memory_mb(process.pid)),
    )


def rows_many(rows: Sequence[Row], count: int = 10_000) -> list[Row]:
    """Repeat rows until there are so many."""
    return [rows[number % len(rows)] for number in range(count)]


def _wait_for_the_right_answer(
    process: subprocess.Popen[bytes], peer: Peer, url: str, rows: Sequence[Row], own: Path
) -> None:
    with servers.PICKLE.open("rb") as file:
        expected = [each["probability"] for each in income.answers(pickle.load(file), rows[:3])]
    said = "no answer"
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(url, content=peer.body(rows[:3]), headers=_JSON, timeout=10)
            said = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code == 200:
                found = peer.probabilities(answer.json())
                if max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 1e-9:
                    return
                said = f"{found} instead of {expected}"
                break
        time.sleep(0.05)
    raise NotStarted(f"{said}; {(own / 'log.txt').read_text(errors='replace')[-300:]}")


_JSON = {"Content-Type": "application/json"}


def _compare(
    report: Report, running: Sequence[Running], connections: int, chosen: argparse.Namespace
) -> dict[str, Figures]:
    for each in running:
        load.run(each.target, connections, 2)  # warm-up
    measures = {each.name: _loading(each, connections, chosen.seconds) for each in running}
    found = rounds.in_turn(measures, chosen.rounds)
    first = next(iter(found.values()))
    rows = [
        [
            name,
            *one.values(),
            first["per_s"] / one["per_s"],
            first["p50_ms"] / one["p50_ms"],
            first["cpu"] / one["cpu"],
        ]
        for name, one in found.items()
    ]
    columns = ["server", "requests/s", "p50 ms", "p99 ms", "wrong answers", "CPU µs a request",
               "first : this, requests/s", "p50", "CPU"]  # fmt: skip
    report.table(f"single rows, {connections} connection{'s' * (connections > 1)}", columns, rows)
    return found


def _loading(each: Running, connections: int, seconds: float) -> Callable[[], Figures]:
    def measure() -> Figures:
        before = services.cpu_s(each.pids)
        seen = load.run(each.target, connections, seconds)
        cpu = (services.cpu_s(each.pids) - before) / max(1, seen.per_s * seconds) * 1e6
        if seen.wrong:
            print(f"{each.name}: {seen.wrong} wrong, {seen.failure}", flush=True)
        figures = {"per_s": seen.per_s, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms}
        return figures | {"wrong": float(seen.wrong), "cpu": cpu}

    return measure


def _large(report: Report, running: Sequence[Running], chosen: argparse.Namespace) -> dict[str, Figures]:
    """Ask everybody for many rows in one request, beside the estimator alone."""
    with servers.PICKLE.open("rb") as file:
        model = pickle.load(file)
    matrix = income.matrix(rows_many(servers.rows_for_all()))
    failures: dict[str, str] = {}
    measures: dict[str, Callable[[], Figures]] = {
        "predict_proba alone": lambda: {"ms": _ms(lambda: model.predict_proba(matrix))}
    }
    with contextlib.ExitStack() as clients:
        for each in running:
            measures[each.name] = _asking(each, failures, clients)
        found = rounds.in_turn(measures, chosen.rounds)
    alone = found["predict_proba alone"]["ms"]
    rows = [
        [name, failures.get(name, one["ms"]), "" if name in failures else alone / one["ms"]]
        for name, one in found.items()
    ]
    report.table("one request of 10,000 rows", ["server", "ms", "predict_proba : this"], rows)
    return {name: one for name, one in found.items() if name not in failures}


def _asking(each: Running, failures: dict[str, str], clients: contextlib.ExitStack) -> Callable[[], Figures]:
    """Ask over one client for all rounds: making one reads certificates for 20 ms, which is no server's time."""
    client = clients.enter_context(httpx.Client(headers={**each.target.headers, **_JSON}, timeout=60))

    def measure() -> Figures:
        start = time.perf_counter()
        try:
            answer = client.post(each.target.url, content=each.many)
            if answer.status_code not in (200, 201):
                failures[each.name] = f"{answer.status_code} {answer.text[:80]}"
        except httpx.HTTPError as failed:
            failures[each.name] = type(failed).__name__
        return {"ms": (time.perf_counter() - start) * 1e3}

    return measure


def _ms(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def _memory(each: Running) -> str:
    return " + ".join(f"{mb:.0f}" for pid in each.pids for mb in services.memory_mb(pid))


if __name__ == "__main__":
    services.unwind_when_ended()
    main()
