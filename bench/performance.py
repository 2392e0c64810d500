"""`python -m bench.performance [--rows N]`: performance over many predictions with outcomes, as a door computes it.

Predictions are appended by the real writer, a thousand a request; outcomes, each a record of its own, are put in place
in bulk, with what is read of them (record, payload, origin). Blocks are made as the engine makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, select, update

from api import contract
from api.calls import Call
from api.frames import Frames, Selection
from api.performance import Performance
from bench import services
from bench.results import Report
from db import blocks, heads, migrate, packing
from db.engine import inserter, open_pen, open_reader
from db.ledger import Ledger
from db.tables import derived, head, payload
from db.tables import record as record_table
from db.tree import Frontier, leaf_hashes
from tests import ledgers
from tests.answering import recorded
from tests.ledgers import NOON_US, SEAL
from tests.postgres import Postgres

MODEL, PER_REQUEST, PAGE = "two-features", 1_000, 16_384
_MONTH_US = 30 * 24 * 3600 * 1_000_000
_RECORD = ("idx", "id", "kind", "observed_at_us", "client_id", "model", "version", "status", "leaf")
_PAYLOAD = ("record_id", "input", "output", "actor", "meta", "secret")
ASKED: dict[str, dict[str, str]] = {
    "everything": {},
    "one version, a month": {"version": "1", "from": "2026-11-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"},
    "by day": {"bucket": "day"},
    "by a feature": {"by": "X1"},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="predictions, each with its outcome")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--databases", nargs="+", default=ledgers.DATABASES, choices=ledgers.DATABASES)
    parser.add_argument("--folder", type=Path, help="where there is room: a million take 1.5 GB")
    chosen = parser.parse_args(arguments)
    report = Report("Performance of a model")
    asked, made = [], []
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for database in chosen.databases:
            for url in _ledger(Path(name), database, chosen.rows):
                made.append([database, chosen.rows, *_make_blocks(url)])
                asked += [[database, chosen.rows, *each] for each in _asking(url, chosen.rows, chosen.rounds)]
    columns = [
        "database",
        "predictions",
        "spans",
        "s to make them",
        "ms a span, worst",
        "ms with the pen, worst",
    ]
    report.table("blocks, made one after the other in one process", columns, made)
    columns = ["database", "predictions", "question", "median s", "worst s", "of it reading, s"]
    report.table(
        "GET /v1/models/{model}/performance, computed anew (target: 1 s for everything)", columns, asked
    )
    report.write()


def _ledger(folder: Path, database: str, rows: int) -> Iterator[str]:
    """Make a ledger of so many predictions, and of as many outcomes behind them."""
    if database == "sqlite":
        url = f"sqlite:///{folder}/ledger.db"
        _fill(url, rows)
        yield url
        return
    with Postgres(folder / "server") as server:
        url = server.new_database()
        _fill(url, rows)
        server.execute("VACUUM ANALYZE", url.partition("@/")[2].partition("?")[0])
        yield url


def _fill(url: str, rows: int) -> None:
    migrate.upgrade(url)
    ledgers.seal(url)
    engine = open_pen(url, 60)
    chance = random.Random(42)
    step = _MONTH_US // (rows // PER_REQUEST)
    about: list[tuple[UUID, int, str]] = []
    try:
        ledger = Ledger(engine, SEAL)
        for start in range(0, rows, PER_REQUEST):
            truths, record = _request(chance, NOON_US + start // PER_REQUEST * step)
            place = ledger.append([record]).places[0]
            about += [(record.id, place, truth) for truth in truths]
        _put_outcomes(engine, about, NOON_US + _MONTH_US)
    finally:
        engine.dispose()


def _request(chance: random.Random, at_us: int) -> tuple[list[str], Any]:
    pairs, truths = [], []
    for _ in range(PER_REQUEST):
        share = chance.random()
        instance = {"X1": round(chance.gauss(0, 2), 3), "X2": round(chance.gauss(0, 1), 3)}
        pairs.append((instance, {"label": "01"[share > 0.5], "probability": share}))
        truths.append("01"[chance.random() < share])
    return truths, recorded(*pairs, model=MODEL, at_us=at_us)


def _put_outcomes(engine: Engine, about: Sequence[tuple[UUID, int, str]], at_us: int) -> None:
    add_records = inserter(engine, record_table, _RECORD)
    add_payloads = inserter(engine, payload, _PAYLOAD)
    add_derived = inserter(engine, derived, ("idx", "of_idx", "position"))
    is_raw = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        frontier = Frontier.from_bytes(connection.scalars(select(head.c.frontier)).one())
    for first in range(0, len(about), PAGE):
        page = list(enumerate(about[first : first + PAGE], first))
        rows, payloads, origins = [], [], []
        secrets = os.urandom(32 * len(page))
        for at, (number, (record, place, value)) in enumerate(page):
            name = UUID(int=number << 64 | 0x7 << 76 | 0b10 << 62 | number)
            raw, secret = name.bytes if is_raw else name, secrets[32 * at : 32 * at + 32]
            told = {"args": {"prediction": f"{record}.{number % PER_REQUEST}", "value": value}}
            idx = frontier.size + at
            leaf = b"\1\12\0\xc9" + name.bytes + idx.to_bytes(8) + secret * 6
            rows.append((idx, raw, 10, at_us + number, "bench", MODEL, "1", 201, leaf))
            payloads.append((raw, json.dumps(told).encode(), b"{}", b"{}", b"{}", secret))
            origins.append((idx, place, number % PER_REQUEST))
        growth = frontier.append(leaf_hashes([row[-1] for row in rows]))
        with engine.connect() as connection, connection.begin():
            add_payloads(connection, payloads)
            add_records(connection, rows)
            add_derived(connection, origins)
        frontier = growth.after
    _finish(engine, frontier, at_us + len(about))


def _finish(engine: Engine, frontier: Frontier, latest_us: int) -> None:
    size, root = frontier.size, frontier.root()
    sealed = {"mac": SEAL.mac(frontier, 0), "frontier": frontier.to_bytes(), "root": root, "size": size}
    with engine.connect() as connection, connection.begin():
        connection.execute(update(head).where(head.c.id == 1).values(**sealed, latest_us=latest_us))
        heads.put_note(connection, size, SEAL.note(size, root))


def _make_blocks(url: str) -> list[object]:
    reader, engine = open_reader(url, 60), open_pen(url, 60)
    spent: list[float] = []
    held: list[float] = []
    try:
        ledger = Ledger(engine, SEAL)
        began = time.perf_counter()
        while (unmade := blocks.unmade(reader)) is not None:
            start = time.perf_counter()
            packed = packing.said(packing.packed(packing.asked(unmade.records)))
            with_pen = time.perf_counter()
            ledger.beside(lambda pen, of=unmade, columns=packed: blocks.put(pen, of, columns))  # type: ignore[misc]  # its defaults
            spent.append(time.perf_counter() - start)
            held.append(time.perf_counter() - with_pen)
        seconds = time.perf_counter() - began
    finally:
        reader.dispose()
        engine.dispose()
    return [len(spent), seconds, max(spent) * 1e3, max(held) * 1e3]


def _asking(url: str, rows: int, rounds: int) -> Iterator[list[object]]:
    reader = open_reader(url, 60)
    try:
        models = contract.read(Path("openapi"), 10_000).models
        frames = Frames(models=models, reader=reader)
        handler = Performance(
            models=models, frames=frames, registered=list, store=Path(), size=lambda: heads.read(reader).size
        )
        for name, query in ASKED.items():
            call = Call(path={"model": MODEL}, query=query)
            found = handler.measure(call, [])  # imports, and the pages of the database
            if found["outcomes"] != rows:
                raise RuntimeError(f"{found['outcomes']} of {rows} outcomes were found")
            times = [_timed(lambda asked=call: handler.measure(asked, [])) for _ in range(rounds)]  # type: ignore[misc]  # its default
            features = (query["by"],) if "by" in query else ()
            reading = _timed(lambda of=features: frames.read(Selection(model=MODEL, features=of)))  # type: ignore[misc]  # its default
            yield [name, statistics.median(times), max(times), reading]
    finally:
        reader.dispose()


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    services.unwind_when_ended()
    main()
