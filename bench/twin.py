"""What a twin spares: each example's pickle and twin asked the same rows in turn, one row, 64 and 10,000 in a call."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import click

from api.settings import calm_numeric_libraries
from bench.results import Report
from models import registry
from models.features import Rows
from models.model import Model

STORE = Path("models/store")
SIZES = (1, 64, 10_000)
WITHIN_S = 0.3  # of one round of one model and size


def both(model: Model, count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Ask pickle and twin in turn; return milliseconds of processor time a call, a figure each round."""
    assert model.twin is not None, model.twinless
    golden = model.manifest.golden.instances
    rows = model.check([golden[nth % len(golden)] for nth in range(count)])
    pickles, twins = [], []
    for _ in range(rounds):
        for asked, times in ((model, pickles), (model.twin, twins)):
            times.append(_call_ms(asked, rows))
    return pickles, twins


def _call_ms(model: Model, rows: Rows) -> float:
    model.predict(rows)
    calls, started = 0, time.process_time()
    while time.process_time() - started < WITHIN_S:
        model.predict(rows)
        calls += 1
    return (time.process_time() - started) / calls * 1000


def line(name: str, count: int, pickles: Sequence[float], twins: Sequence[float]) -> list[object]:
    """Word the medians of one model and size, and the median of the ratios of its rounds."""
    ratio = statistics.median(slow / fast for slow, fast in zip(pickles, twins, strict=True))
    return [name, count, statistics.median(pickles), statistics.median(twins), ratio]


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Measure the calls alone, without HTTP and ledger; results in bench/RESULTS.md."""
    calm_numeric_libraries()
    report = Report(title="twins: the call alone")
    rows = []
    for name, version in registry.listing(STORE):
        model = registry.load(STORE, name, version, None)
        way = model.manifest.twin.way if model.manifest.twin else None
        rows += [line(f"{name} ({way})", count, *both(model, count, rounds)) for count in SIZES]
    columns = ["model (its twin)", "rows a call", "pickle, ms", "twin, ms", "ratio"]
    report.table(
        f"`Model.predict`, processor time, medians of {rounds} rounds in turn, one thread", columns, rows
    )
    report.write()


if __name__ == "__main__":
    main()
