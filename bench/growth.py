"""`python -m bench.growth [--records N]`: what searches, appends and verification cost as a ledger grows.

The ledger is grown by the real pen, one prediction a record, in groups of 512, and looked at each time it is ten times
as long: what costs the same at ten thousand records and at ten million does not grow with the ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import services
from bench.records import START_US, record
from bench.results import Report
from db import migrate
from db.audit import How, audit
from db.engine import open_pen, open_reader
from db.ledger import Ledger
from db.lookups import Filter, Lookups
from db.records import Record
from tests import ledgers
from tests.postgres import Postgres

PAGE = 20
_FIRST, _GROUP, _MEASURED = 10_000, 512, 20
_CLIENTS, _VERSIONS, _STEP_US = 20, 3, 250
Search = Callable[[random.Random, int], Filter]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="in the ledger at the end")
    parser.add_argument("--searches", type=int, default=200, help="of each kind, at each length")
    parser.add_argument("--databases", nargs="+", default=ledgers.DATABASES, choices=ledgers.DATABASES)
    parser.add_argument(
        "--folder", type=Path, help="where there is room: 10 million records take 15 GB on SQLite"
    )
    parser.add_argument(
        "--keep", type=Path, help="a name for the SQLite file, which is left there at the end"
    )
    parser.add_argument(
        "--of", type=Path, help="search such a file again, of so many --records, and do no more"
    )
    parser.add_argument(
        "--verify", nargs="+", help="verify such databases again, given as URLs, and do no more"
    )
    chosen = parser.parse_args(arguments)
    if chosen.verify is not None:
        report = Report("A long ledger, verified again")
        for url in chosen.verify:
            _verify(report, url.partition(":")[0].partition("+")[0], url)
        report.write()
        return
    if chosen.of is not None:
        report = Report("A long ledger, searched again")
        _filters(
            report, "sqlite", chosen, _searching(f"sqlite:///{chosen.of}", chosen.records, chosen.searches)
        )
        report.write()
        return
    report = Report("The length of the ledger")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for database in chosen.databases:
            with _empty(Path(name), database, chosen.keep) as url:
                _grow(report, database, url, chosen)
                _verify(report, database, url)
    report.write()


def sizes(last: int) -> list[int]:
    """Give the lengths at which is measured: ten thousand, ten times as many, and so on."""
    found = itertools.takewhile(lambda size: size < last, (_FIRST * 10**power for power in range(10)))
    return [*found, last]


def _grow(report: Report, database: str, url: str, chosen: argparse.Namespace) -> None:
    rows, spread = [], {}
    numbers, stored = itertools.count(), 0
    for size in sizes(chosen.records):
        engine = open_pen(url)
        try:
            ledger = Ledger(engine, ledgers.SEAL)
            while stored < size:
                stored += len(ledger.append(_records(numbers, min(_GROUP, size - stored))).places)
            appends = [_appending(ledger, numbers, each) for each in (1, 64)]
            stored += _MEASURED * (1 + 64)
            ledger.note()
        finally:
            engine.dispose()
        spread = _searching(url, size, chosen.searches)
        worst = max(spread, key=lambda name: spread[name][1])
        rows.append([size, *appends, *spread["newest"], worst, *spread[worst]])
    columns = ["records", "append of 1, ms", "of 64, ms", "newest: p50 ms", "p95 ms", "dearest search", "p50 ms",
               "p95 ms"]  # fmt: skip
    report.table(f"{database}: cost as the ledger grows (disk included)", columns, rows)
    _filters(report, database, chosen, spread)


def _filters(
    report: Report, database: str, chosen: argparse.Namespace, spread: Mapping[str, Sequence[float]]
) -> None:
    found = [[name, *each, each[1] <= 20] for name, each in spread.items()]
    columns = ["search, a page of 20", "p50 ms", "p95 ms", "p95 within 20 ms"]
    report.table(f"{database}: every filter, {chosen.records:,} predictions", columns, found)


def _records(numbers: Iterator[int], count: int) -> list[Record]:
    made = []
    for number in itertools.islice(numbers, count):
        client, version = f"client-{number % _CLIENTS}", str(number % _VERSIONS + 1)
        made.append(record(number, client, version, f"reference-{number}"))
    return made


def _appending(ledger: Ledger, numbers: Iterator[int], size: int) -> float:
    """Say how long a group takes, in milliseconds."""
    groups = [_records(numbers, size) for _ in range(_MEASURED)]
    return statistics.median(_timed(lambda one=each: ledger.append(one)) for each in groups) * 1e3  # type: ignore[misc]  # its default


def _verify(report: Report, database: str, url: str) -> None:
    """Audit it all, as `python -m api verify` does, with one process and with one for each core."""
    rows = []
    for processes in sorted({1, os.cpu_count() or 1}):
        engine = open_reader(url, 600.0)
        try:
            start = time.perf_counter()
            verdict = audit(
                engine, ledgers.SEAL.key, mac_key=ledgers.SEAL.mac_key, how=How(processes=processes)
            )
            taken = time.perf_counter() - start
        finally:
            engine.dispose()
        rows.append([processes, verdict.size, taken, verdict.size / taken / processes, len(verdict.findings)])
    columns = ["processes", "records", "s", "records/s and process", "findings"]
    report.table(f"{database}: verification, payloads and all (target: 100,000 a core)", columns, rows)


@contextlib.contextmanager
def _empty(folder: Path, database: str, keep: Path | None) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder}/ledger.db"
        if database == "postgresql":
            url = stack.enter_context(Postgres(folder / "server")).new_database()
        migrate.upgrade(url)
        ledgers.seal(url)
        yield url
        if keep is not None and database == "sqlite":
            shutil.move(folder / "ledger.db", keep)
        for left in folder.glob("ledger.db*"):
            left.unlink()


def _any_time(chance: random.Random, size: int) -> tuple[int, int]:
    at = chance.randrange(size)
    return at, at + max(1, size // 100)


SEARCHES: dict[str, Search] = {
    "newest": lambda _, __: Filter(),
    "client": lambda chance, _: Filter(client_id=f"client-{chance.randrange(20)}"),
    "client that is not there": lambda *_: Filter(client_id="nobody"),
    "model": lambda *_: Filter(model="income"),
    "version": lambda chance, _: Filter(model="income", version=str(chance.randrange(1, 4))),
    "reference": lambda chance, size: Filter(reference=f"reference-{chance.randrange(size)}"),
    "label": lambda chance, _: Filter(label=chance.choice(("<=50K", ">50K"))),
    "narrow range of scores": lambda chance, _: _scores(chance.random(), 0.0001),
    "wide range of scores": lambda chance, _: _scores(chance.random() / 2, 0.5),
    "time": lambda chance, size: _times(*_any_time(chance, size)),
    "with an outcome": lambda *_: Filter(has_outcome=True),
    "without an outcome": lambda *_: Filter(has_outcome=False),
    "client, label and scores": lambda chance, _: Filter(
        client_id=f"client-{chance.randrange(20)}", label=">50K", score_min=0.99
    ),
    "version, label and time": lambda chance, size: Filter(
        model="income", version="2", label="<=50K", to_us=START_US + chance.randrange(size) * _STEP_US
    ),
}


def _scores(low: float, width: float) -> Filter:
    return Filter(score_min=low, score_max=low + width)


def _times(first: int, last: int) -> Filter:
    return Filter(from_us=START_US + first * _STEP_US, to_us=START_US + last * _STEP_US)


def _searching(url: str, size: int, count: int) -> dict[str, list[float]]:
    """Search by everything, in turn, with connections and caches as a door has them: p50 and p95 in milliseconds."""
    reader, chance = open_reader(url), random.Random(42)
    try:
        lookups = Lookups(reader)
        taken: dict[str, list[float]] = {name: [] for name in SEARCHES}
        for _ in range(count):
            for name, search in SEARCHES.items():
                wanted = search(chance, size)
                taken[name].append(_timed(lambda one=wanted: lookups.search(one, None, PAGE)))  # type: ignore[misc]  # its default
    finally:
        reader.dispose()
    cuts = {name: statistics.quantiles(each, n=20) for name, each in taken.items()}
    return {name: [each[9] * 1e3, each[18] * 1e3] for name, each in cuts.items()}


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    services.unwind_when_ended()
    main()
