"""`python -m bench.append [--long]`: what the ledger costs, alone and behind the doors.

Alone: groups appended to tables, with leaf, commitments, tree, seal, signature and receipts, and without any of it.
Behind the doors: the whole service at 64 connections, sealed, unsealed, and keeping nothing at all.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from api import receipts
from bench import load, rounds, services
from bench.records import Plain, record
from bench.results import Report
from bench.rounds import Figures
from db import migrate
from db.engine import open_pen
from db.ledger import Ledger
from db.records import Record
from tests import ledgers
from tests.postgres import Postgres

GROUPS = (1, 8, 64, 512)
Url = Callable[[], str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4096, help="records per round and size of group")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=4, help="of load per round; 0: do not start the service"
    )
    parser.add_argument("--databases", nargs="+", default=ledgers.DATABASES, choices=ledgers.DATABASES)
    chosen = parser.parse_args(arguments)
    report = Report("The cost of the ledger")
    with tempfile.TemporaryDirectory() as name, _urls(Path(name), chosen.databases) as urls:
        for database, url in urls.items():
            alone(report, database, url, chosen)
            if chosen.seconds:
                served(report, database, Path(name) / database, url, chosen)
    report.write()


@contextlib.contextmanager
def _urls(folder: Path, databases: Sequence[str]) -> Iterator[dict[str, Url]]:
    """Make what makes fresh databases, of each kind."""
    numbers = iter(range(1000))

    def sqlite() -> str:
        return f"sqlite:///{folder}/{next(numbers)}.db"

    with contextlib.ExitStack() as stack:
        made: dict[str, Url] = {"sqlite": sqlite}
        if "postgresql" in databases:
            server = stack.enter_context(Postgres(folder / "server"))
            made["postgresql"] = server.new_database
        yield {name: made[name] for name in databases}


def alone(report: Report, database: str, url: Url, chosen: argparse.Namespace) -> None:
    """Append groups of every size to a sealed ledger and to plain tables, in turn."""
    rows = []
    with contextlib.ExitStack() as stack:
        pens = {
            "ledger": stack.enter_context(_pen(url(), Ledger)),
            "plain": stack.enter_context(_pen(url(), Plain)),
        }
        for size in GROUPS:
            measures = {name: _appending(pen, size, chosen.records) for name, pen in pens.items()}
            found = rounds.in_turn(measures, chosen.rounds)
            ledger, plain = found["ledger"], found["plain"]
            costs = [ledger["us"] / plain["us"], ledger["cpu_us"] - plain["cpu_us"]]
            per_s = [round(1e6 / each["us"]) for each in (ledger, plain)]
            rows.append([size, *per_s, *costs, ledger["cpu_us"], plain["cpu_us"]])
    columns = ["records in a group", "ledger, records/s", "plain, records/s", "time, ledger : plain",
               "more CPU, µs a record", "ledger, CPU µs", "plain, CPU µs"]  # fmt: skip
    report.table(f"{database}: appending alone, receipts written as headers", columns, rows)


@contextlib.contextmanager
def _pen(url: str, ledger: Callable[..., Ledger | Plain]) -> Iterator[Ledger | Plain]:
    migrate.upgrade(url)
    ledgers.seal(url)
    engine = open_pen(url)
    try:
        yield ledger(engine, ledgers.SEAL)
    finally:
        engine.dispose()


def _appending(ledger: Ledger | Plain, size: int, records: int) -> Callable[[], Figures]:
    # Groups of one wait for the disk each: fewer of them say as much.
    groups = max(4, min(records // size, 512))
    numbers = iter(range(10**9))

    def measure() -> Figures:
        made = [[record(next(numbers)) for _ in range(size)] for _ in range(groups)]
        wall, cpu = time.perf_counter(), time.process_time()
        for group in made:
            _append(ledger, group)
        taken = time.perf_counter() - wall, time.process_time() - cpu
        return {name: each / size / groups * 1e6 for name, each in zip(("us", "cpu_us"), taken, strict=True)}

    return measure


def _append(ledger: Ledger | Plain, group: Sequence[Record]) -> None:
    for receipt in ledger.append(group).receipts:
        receipts.header(receipt)


def served(report: Report, database: str, folder: Path, url: Url, chosen: argparse.Namespace) -> None:
    """Load the service in each mode, in turn; all run at once, one is asked."""
    load.need_wrk()
    with contextlib.ExitStack() as stack:
        modes = {
            mode: stack.enter_context(
                services.serving(folder / mode, mode, url() if database != "sqlite" else None)
            )
            for mode in services.MODES
        }
        for serving in modes.values():
            load.run(serving.target, 64, 2)
        found = rounds.in_turn({m: _loading(s, chosen.seconds) for m, s in modes.items()}, chosen.rounds)
    off = found["off"]
    rows = [
        [
            mode,
            *(round(each, 2) for each in one.values()),
            one["per_s"] / off["per_s"],
            off["cpu_us"] / one["cpu_us"],
        ]
        for mode, one in found.items()
    ]
    columns = ["records", "requests/s", "p50 ms", "p99 ms", "wrong answers", "CPU µs a request",
               "throughput : off", "per CPU second : off"]  # fmt: skip
    report.table(f"{database}: the whole service, single rows, 64 connections", columns, rows)
    sealed, unsealed = found["sealed"], found["unsealed"]
    per_s, per_cpu = sealed["per_s"] / unsealed["per_s"], unsealed["cpu_us"] / sealed["cpu_us"]
    report.remark(
        f"{database}, sealed : unsealed: throughput {per_s:.3f}, requests per second of our own processor time"
        f" {per_cpu:.3f} (target: at least 0.9)."
    )


def _loading(serving: services.Serving, seconds: float) -> Callable[[], Figures]:
    def measure() -> Figures:
        before = services.cpu_s(serving.pids)
        seen = load.run(serving.target, 64, seconds)
        cpu_us = (services.cpu_s(serving.pids) - before) / seen.per_s / seconds * 1e6
        return {
            "per_s": seen.per_s,
            "p50_ms": seen.p50_ms,
            "p99_ms": seen.p99_ms,
            "wrong": float(seen.wrong),
            "cpu_us": cpu_us,
        }

    return measure


if __name__ == "__main__":
    services.unwind_when_ended()
    main()
