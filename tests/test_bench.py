"""What measures speed works: every script runs at its smallest size, so that it does when a figure is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

import pytest
import uvloop

from bench import append, growth, load, performance, proofs, rates, results, rounds, twin
from bench.peers import __main__ as peers
from bench.peers import servers
from bench.results import Report
from models import registry


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep what is measured here out of the results that are shown."""
    path = tmp_path / "RESULTS.md"
    monkeypatch.setattr(Report.write, "__defaults__", (path,))
    return path


def test_the_cost_of_the_ledger_is_measured(written: Path) -> None:
    """Groups are appended to a sealed ledger and to plain tables, and both are in the table."""
    append.main(["--records", "64", "--rounds", "1", "--seconds", "0", "--databases", "sqlite"])

    assert "sqlite: appending alone" in written.read_text()
    assert [line.split(" | ")[0] for line in written.read_text().splitlines() if " | " in line][2:] == [
        f"| {size}" for size in append.GROUPS
    ]


def test_proofs_out_of_a_filled_ledger_hold(written: Path) -> None:
    """The ledger that is filled in bulk is one the real one grows from, proves from, and gives receipts of."""
    proofs.main(["--records", "1000", "--checks", "20", "--databases", "sqlite"])

    assert "sqlite | header" in written.read_text()


def test_a_ledger_is_searched_and_verified_as_it_grows(written: Path, tmp_path: Path) -> None:
    """Every search is in the table, and verification finds nothing in a ledger that the real pen has grown."""
    few, kept = ["--records", "1000", "--searches", "2"], str(tmp_path / "kept.db")
    growth.main([*few, "--databases", "sqlite", "--keep", kept])

    shown = written.read_text()
    assert [name for name in growth.SEARCHES if f"| {name} | " not in shown] == []
    assert [line.split(" | ")[-1] for line in shown.splitlines() if line.startswith("| 1 | 2,300")] == ["0 |"]
    growth.main([*few, "--of", kept])
    assert written.read_text().count("| client, label and scores | ") == 2
    assert growth.sizes(10**7) == [10_000, 100_000, 1_000_000, 10_000_000]


def test_performance_is_measured_of_every_prediction(written: Path) -> None:
    """Each question is asked of a ledger with blocks and an unfinished end, and finds every outcome there is."""
    performance.main(["--rows", "5000", "--rounds", "1", "--databases", "sqlite"])

    shown = written.read_text()
    assert [name for name in performance.ASKED if f"| sqlite | 5,000 | {name} | " not in shown] == []


def test_requests_at_a_rate_are_all_sent_and_counted(tmp_path: Path) -> None:
    """Each request that was due is sent once, whoever is slow, and what is no 201 is counted."""
    asked, answering = [], []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(await reader.readexactly(int(head.partition(b"Content-Length: ")[2])))
                status = 500 if asked[-1] == b"bad" else 201
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
        writer.close()
        await writer.wait_closed()

    async def measure() -> rates.Seen:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/predict"
        target = load.Target(url=url, bodies=load.bodies(tmp_path / "bodies", [b"good", b"bad"]), headers={})
        seen = await rates.at_rate(target, 1000, 0.2)
        server.close()
        await asyncio.gather(*filter(None, answering))
        return seen

    seen = uvloop.run(measure())  # as the benchmark does: its transports are none of asyncio's

    assert (len(asked), asked.count(b"bad")) == (200, 100)
    assert (len(seen.taken_s), seen.wrong) == (200, 100)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="load needs wrk, which only benchmarks need")
def test_the_whole_service_is_measured_in_every_mode(written: Path) -> None:
    """Sealed, unsealed and keeping nothing all answer, and no answer is wrong."""
    append.main(["--records", "1", "--rounds", "1", "--seconds", "1", "--databases", "sqlite"])

    rows = [
        line
        for line in written.read_text().splitlines()
        if line.startswith(("| sealed", "| unsealed", "| off"))
    ]
    assert [row.split(" | ")[4] for row in rows] == ["0", "0", "0"]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="load needs wrk, which only benchmarks need")
def test_a_peer_that_cannot_be_installed_is_in_the_table(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OnRecord is measured, and who could not be is named with the reason."""

    def refuse(_: servers.Peer) -> Path:
        raise servers.NotInstalled("no such package")

    monkeypatch.setattr(servers.Peer, "install", refuse)

    peers.main(["--rounds", "1", "--seconds", "1", "--only", "SQLite, twin off", "LitServe"])

    shown = written.read_text()
    assert "| LitServe, batches of 64 | no such package |" in shown
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith("| OnRecord, SQLite")]
    assert [row[4] for row in rows[:2]] == ["0", "0"]
    assert float(rows[2][2].strip("| ")) > 0


@pytest.mark.parametrize("peer", servers.peers(), ids=lambda peer: peer.name)
def test_every_peer_is_asked_the_same_rows(peer: servers.Peer) -> None:
    """Whatever form a peer wants, the persons in it are the same ones."""
    asked = json.loads(peer.body(servers.rows_for_all(2)))

    if "inputs" in asked:
        given = [
            dict(zip([c["name"] for c in asked["inputs"]], row, strict=True))
            for row in zip(*(c["data"] for c in asked["inputs"]), strict=True)
        ]
    elif "dataframe_split" in asked:
        frame = asked["dataframe_split"]
        given = [dict(zip(frame["columns"], row, strict=True)) for row in frame["data"]]
    else:
        given = asked["instances"]
    assert given == servers.rows_for_all(2)


def test_without_wrk_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing tool is named with the command that installs it."""
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(SystemExit, match="apt-get install wrk"):
        load.need_wrk()


def test_rounds_are_taken_in_turn() -> None:
    """Every round measures all, the next one in the opposite order, and medians come out."""
    order: list[str] = []

    def measure(name: str, *values: float) -> object:
        left = list(values)
        return lambda: (order.append(name), {"x": left.pop(0)})[1]

    found = rounds.in_turn({"a": measure("a", 3, 1, 2), "b": measure("b", 9, 9, 9)}, 3)  # type: ignore[dict-item]  # enough of one

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": {"x": 2}, "b": {"x": 9}}


def test_a_section_takes_the_place_of_its_last_run(tmp_path: Path) -> None:
    """A second run replaces its own section and leaves the others."""
    path = tmp_path / "RESULTS.md"
    for title, text in (("One", "first figure"), ("Two", "other figure"), ("One", "newest figure")):
        report = results.Report(title)
        report.remark(text)
        report.write(path)

    shown = path.read_text()
    assert shown.count("## One") == shown.count("## Two") == 1
    assert "first figure" not in shown
    assert "other figure" in shown
    assert "newest figure" in shown


def test_pickle_and_twin_are_asked_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round times both on the same rows, and the line says the medians and the ratio of the rounds."""
    monkeypatch.setattr(twin, "WITHIN_S", 0.001)
    model = registry.load(twin.STORE, "housing", "1", None)

    pickles, twins = twin.both(model, 3, rounds=2)

    assert (len(pickles), len(twins)) == (2, 2)
    assert twin.line("a", 3, [4.0, 6.0, 5.0], [1.0, 2.0, 1.0]) == ["a", 3, 5.0, 1.0, 4.0]
