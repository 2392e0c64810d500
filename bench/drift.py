"""How often drift is called out of nothing, and how often it is found: Adult census as a stream, in many orders."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import click
import numpy as np

from bench.results import Report
from models import drift
from models.shifts import Verdict
from models.thresholds import Thresholds
from tests import streams

# The verdicts that are an alarm, from the milder to the harder one.
ALARMS: tuple[Verdict, ...] = ("watch", "drifted")


@dataclass
class Tally:
    """Verdicts of windows and, by their worst window, of whole streams."""

    windows: Counter[Verdict] = field(default_factory=Counter)
    streams: Counter[Verdict] = field(default_factory=Counter)

    def add(self, verdicts: list[Verdict]) -> None:
        """Count one stream."""
        self.windows.update(verdicts)
        self.streams.update([max(verdicts, key=("stable", *ALARMS).index)])

    def row(self, name: str) -> list[object]:
        """Say for windows and streams how many there were and how many alarmed."""
        parts: list[object] = [name]
        for counted in (self.windows, self.streams):
            parts += [counted.total(), *(counted[alarm] for alarm in ALARMS)]
        return parts


def campaign(seeds: range) -> tuple[Tally, Tally]:
    """Judge each stream as it is, and again with older persons in its second half (that half is tallied)."""
    quiet, shifted = Tally(), Tally()
    for seed in seeds:
        manifest, held_out = streams.reference(seed)
        half = streams.older(held_out[len(held_out) // 2 :], seed)
        for tally, places in ((quiet, held_out), (shifted, half)):
            tally.add(_verdicts(places, manifest))
    return quiet, shifted


def _verdicts(places: np.ndarray, manifest: streams.Manifest) -> list[Verdict]:
    judged = (
        drift.against_training(each, manifest, Thresholds()).verdict for each in streams.windows(places)
    )
    return list(judged)


@click.command()
@click.option("--seeds", default=200, show_default=True)
def main(seeds: int) -> None:
    """Measure false alarms and findings; results in bench/RESULTS.md."""
    report = Report(title="drift: false alarms and findings")
    quiet, shifted = campaign(range(1000, 1000 + seeds))
    columns = ["stream", "windows", "watch", "drifted", "streams", "with a watch", "with drifted"]
    rows = [
        quiet.row("no shift"),
        shifted.row("after the shift: ten years of age are three times as frequent"),
    ]
    report.table(
        f"Adult census in {seeds} random orders, windows of 1,000, default thresholds", columns, rows
    )
    report.write()


if __name__ == "__main__":
    main()
