"""`python -m bench.proofs [--records N]`: what it takes to check a receipt, and to prove a record out of a long ledger.

The ledger is grown in place: generated leaves, their records and payloads, and the tiles of the real tree, in
bulk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, insert, update

from api import ledger as api_ledger
from api import receipts
from api.calls import Call, Claims
from bench import services
from bench.records import record
from bench.results import Report
from db import heads, migrate
from db.engine import inserter, open_pen, open_reader
from db.ledger import Ledger
from db.proofs import Proofs
from db.tables import head, payload, tile
from db.tables import record as record_table
from db.tree import TILE_WIDTH, Frontier, leaf_hashes
from tests import ledgers
from tests.ledgers import SEAL
from tests.postgres import Postgres

_PAGE = 64 * TILE_WIDTH  # records in one transaction: whole tiles
_RECORD = ("idx", "id", "kind", "observed_at_us", "client_id", "status", "leaf")
_PAYLOAD = ("record_id", "input", "output", "actor", "meta", "secret")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="already in the ledger")
    parser.add_argument("--checks", type=int, default=2000, help="receipts checked, and records proven")
    parser.add_argument("--databases", nargs="+", default=ledgers.DATABASES, choices=ledgers.DATABASES)
    parser.add_argument(
        "--folder", type=Path, help="where there is room: 10 million records take 6 GB on SQLite"
    )
    chosen = parser.parse_args(arguments)
    report = Report("Receipts and proofs")
    proving, checking = [], []
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for database in chosen.databases:
            with _ledger(Path(name), database, chosen.records) as (url, ids, seconds):
                found = _proving(url, ids, chosen.checks)
                proving.append([database, chosen.records, round(seconds), *_spread(found)])
                checking += [[database, *each] for each in _checking(url, chosen.checks)]
    columns = ["database", "records", "s to fill", "p50 ms", "p95 ms", "worst ms"]
    report.table(
        "a receipt out of a long ledger: Proofs.receipt of random records (target: 10 ms)", columns, proving
    )
    columns = ["database", "form", "bytes", "p50 ms", "p95 ms", "worst ms"]
    report.table(
        "checking a receipt with its request and answer: api.receipts (target: 1 ms)", columns, checking
    )
    report.write()


@contextlib.contextmanager
def _ledger(folder: Path, database: str, size: int) -> Iterator[tuple[str, list[UUID], float]]:
    """Make a sealed ledger of so many records; name some of them, and say how long it took."""
    with contextlib.ExitStack() as stack:
        if database == "postgresql":
            url = stack.enter_context(Postgres(folder / "server")).new_database()
        else:
            url = f"sqlite:///{folder}/ledger.db"
        migrate.upgrade(url)
        ledgers.seal(url)
        engine = open_pen(url)
        try:
            start = time.perf_counter()
            ids = fill(engine, size)
            seconds = time.perf_counter() - start
        finally:
            engine.dispose()
        yield url, ids, seconds
        if database == "sqlite":
            (folder / "ledger.db").unlink()


def fill(engine: Engine, size: int) -> list[UUID]:
    """Grow a ledger in place; return the ids of a sample of its records."""
    frontier, ids, sample = Frontier(), [], max(1, size // 10_000)
    add_records, add_payloads = inserter(engine, record_table, _RECORD), inserter(engine, payload, _PAYLOAD)
    like = record(0)
    higher: dict[tuple[int, int], bytes] = {}
    is_raw = engine.dialect.name == "sqlite"
    while frontier.size < size:
        places = range(frontier.size, min(frontier.size + _PAGE, size))
        random_bytes = os.urandom(32 * len(places))
        names = [UUID(int=place << 64 | 0x7 << 76 | 0b10 << 62 | place) for place in places]
        rows, payloads = [], []
        for at, (place, name) in enumerate(zip(places, names, strict=True)):
            raw = name.bytes if is_raw else name
            secret = random_bytes[32 * at : 32 * at + 32]
            leaf = b"\1\1\0\xc9" + name.bytes + place.to_bytes(8) + secret * 6
            rows.append((place, raw, 1, place, "bench", 201, leaf))
            payloads.append((raw, like.input[:64], b"", b"", b"", secret))
        growth = frontier.append(leaf_hashes([row[-1] for row in rows]))
        with engine.connect() as connection, connection.begin():
            add_payloads(connection, payloads)
            add_records(connection, rows)
            for span, piece in growth.tiles():
                if span.level:
                    higher[span.level, span.index] = higher.get((span.level, span.index), b"") + piece
                elif span.width == TILE_WIDTH:
                    connection.execute(insert(tile).values(level=0, idx=span.index, hashes=piece))
        ids += names[::sample]
        frontier = growth.after
    with engine.connect() as connection, connection.begin():
        _finish(connection, frontier, higher)
    return ids


def _finish(connection: Connection, frontier: Frontier, higher: dict[tuple[int, int], bytes]) -> None:
    for (level, index), hashes in higher.items():
        connection.execute(insert(tile).values(level=level, idx=index, hashes=hashes))
    size, root = frontier.size, frontier.root()
    seal = {"mac": SEAL.mac(frontier, 0), "frontier": frontier.to_bytes(), "root": root, "size": size}
    connection.execute(update(head).where(head.c.id == 1).values(**seal))
    heads.put_note(connection, size, SEAL.note(size, root))


def _proving(url: str, ids: Sequence[UUID], count: int) -> list[float]:
    """Prove random records, each with connections and caches as a door has them."""
    reader = open_reader(url)
    try:
        proofs = Proofs(reader)
        chosen = random.Random(42).choices(ids, k=count)
        return [_timed(lambda one=each: proofs.receipt(one)) for each in chosen]  # type: ignore[misc]  # its default
    finally:
        reader.dispose()


def _checking(url: str, count: int) -> Iterator[list[object]]:
    """Check the receipts of a group appended just now, as a caller does, in both forms."""
    engine, key = open_pen(url), SEAL.signer.key()
    try:
        ledger = Ledger(engine, SEAL)
        records = [record(number) for number in range(64)]
        appended = ledger.append(records)
        ledger.note()
    finally:
        engine.dispose()
    reader = open_reader(url)
    try:
        shown = api_ledger.Ledger(proofs=Proofs(reader))
        claims = Claims(client_id="bench", scopes=frozenset({"audit:read"}), jti="")
        forms = {
            "header": [
                f"{receipts.HEADER}: {receipts.header(each)}\n".encode() for each in appended.receipts
            ],
            "JSON": [
                orjson.dumps(shown.receipt(Call(claims=claims, path={"id": str(each.id)})).content)
                for each in records
            ],
        }
    finally:
        reader.dispose()
    for form, kept in forms.items():
        times = []
        for number in range(count):
            one = records[number % len(records)]
            text = kept[number % len(kept)]
            times.append(
                _timed(
                    lambda t=text, r=one: list(  # type: ignore[misc]  # their defaults
                        receipts.check(receipts.evidence(t), key, input=r.input, output=r.output)
                    )
                )
            )
        yield [form, len(kept[0]), *_spread(times)]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spread(seconds: Sequence[float]) -> list[float]:
    """Give median, 95th percentile and maximum, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return [round(each * 1e3, 3) for each in (cuts[9], cuts[18], max(seconds))]


if __name__ == "__main__":
    services.unwind_when_ended()
    main()
