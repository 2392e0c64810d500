"""What was aimed at, beside what one run found: ratios of servers on one machine at one time, reached or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bench.results import Report
from bench.rounds import Figures

if TYPE_CHECKING:
    from bench.peers.__main__ import Running

Found = Mapping[str, Figures]
_ON, _OFF = "OnRecord, SQLite", "OnRecord, SQLite, twin off"
_BARE, _BARE_OFF = "OnRecord, nothing on record", "OnRecord, nothing on record, twin off"
_BATCHING = ("LitServe", "BentoML", "MLServer")
_AUDITED = "a commit a request"
_READY_S, _IDLE_MB = 3.0, 400.0


def judge(report: Report, alone: Found, crowded: Found, large: Found, running: Mapping[str, Running]) -> None:
    """Add a table of targets; a row whose servers were not all measured is left out."""
    rows = [*_throughput(crowded), *_latency(alone), *_recording(crowded), *_many(large), *_start(running)]
    if rows:
        report.table("targets", ["what", "target", "found", "reached"], rows)


def _throughput(crowded: Found) -> Iterator[list[object]]:
    peers = {name: one["per_s"] for name, one in crowded.items() if name.startswith(_BATCHING)}
    if not peers:
        return
    best = max(peers, key=lambda name: peers[name])
    for name, least in ((_ON, 5.0), (_OFF, 3.0)):
        if name in crowded:
            ratio = crowded[name]["per_s"] / peers[best]
            yield [
                f"requests/s at 64 connections, {name} : {best}",
                f"at least {least:g}",
                ratio,
                ratio >= least,
            ]


def _latency(alone: Found) -> Iterator[list[object]]:
    for peer, one in alone.items():
        if peer.startswith("FastAPI") and _AUDITED not in peer and _ON in alone:
            ratio = alone[_ON]["p50_ms"] / one["p50_ms"]
            yield [f"p50 at 1 connection, {_ON} : {peer}", "at most 0.25", ratio, ratio <= 0.25]


def _recording(crowded: Found) -> Iterator[list[object]]:
    for with_it, without in ((_ON, _BARE), (_OFF, _BARE_OFF)):
        if with_it in crowded and without in crowded:
            ratio = crowded[with_it]["per_s"] / crowded[without]["per_s"]
            yield [
                f"requests/s at 64 connections, {with_it} : {without}",
                "at least 0.9",
                ratio,
                ratio >= 0.9,
            ]


def _many(large: Found) -> Iterator[list[object]]:
    for name in (_ON, _OFF):
        if name in large:
            ratio = large["predict_proba alone"]["ms"] / large[name]["ms"]
            yield [f"10,000 rows, predict_proba alone : {name}", "at least 0.5", ratio, ratio >= 0.5]


def _start(running: Mapping[str, Running]) -> Iterator[list[object]]:
    if _ON in running:
        one = running[_ON]
        yield ["start to ready, s", f"at most {_READY_S:g}", one.ready_s, one.ready_s <= _READY_S]
        yield ["idle memory, MB", f"at most {_IDLE_MB:g}", one.idle_mb, one.idle_mb <= _IDLE_MB]
