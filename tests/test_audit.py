"""How an audit goes about it changes nothing in what it finds: in one process or several, at once or with pauses."""

from __future__ import annotations

from functools import reduce
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import auditing_pool
from db.audit import How
from db.auditing import Cause, Tally
from tests.ledgers import DATABASES
from tests.tampering import SIZE, Copies, Rigged

TAMPERED = {  # statements, and the first place at which something is wrong
    "nothing": ([], None),
    "one leaf": (["UPDATE record SET leaf = (SELECT leaf FROM record WHERE idx = 7) WHERE idx = 70"], 70),
    "one payload": (["UPDATE payload SET input = output WHERE record_id = (SELECT id FROM record WHERE idx = 99)"], 99),
    "one lookup": (["UPDATE prediction SET label = 'x' WHERE idx = 250"], 250),
    "a lost range": (["DELETE FROM record WHERE idx BETWEEN 60 AND 140"], 60),
    "the first record": (["DELETE FROM record WHERE idx = 0"], 0),
    "the last record": ([f"DELETE FROM record WHERE idx = {SIZE - 1}"], SIZE - 1),
    "an alias": (["UPDATE alias SET previous = NULL"], 5),
    "the latest time": (["UPDATE head SET latest_us = latest_us + 1"], None),
    "the lag": (["UPDATE head SET lag_us = lag_us + 1"], None),
}  # fmt: skip


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.fixture(params=DATABASES)
def rigged(request: pytest.FixtureRequest, copies: Copies) -> Rigged:
    """Take a fresh copy."""
    return copies.new(request.param)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut ranges so small that these ledgers have many, none of them a multiple of a tile."""
    monkeypatch.setattr(auditing_pool, "RANGE", 37)
    monkeypatch.setattr(auditing_pool, "_SMALL", 0)


@pytest.mark.parametrize("name", TAMPERED)
def test_small_ranges_find_what_one_range_finds(
    rigged: Rigged, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ranges are cut makes no difference to what is found where."""
    statements, at = TAMPERED[name]
    rigged.run(*statements)
    whole = rigged.audit()
    monkeypatch.setattr(auditing_pool, "RANGE", 37)
    cut = rigged.audit()

    assert {(each.at, each.cause) for each in whole.findings} <= {
        (each.at, each.cause) for each in cut.findings
    }
    assert {each.cause for each in whole.findings} == {each.cause for each in cut.findings}
    assert bool(whole.findings) == (name != "nothing")
    assert (cut.findings[0].at if cut.findings else None) == at
    assert (whole.records, whole.payloads, whole.predictions) == (cut.records, cut.payloads, cut.predictions)
    assert whole.root == cut.root or name == "a lost range"


@pytest.mark.usefixtures("small")
def test_several_processes_find_what_one_finds(rigged: Rigged) -> None:
    """Two processes give the same verdict to the letter, on a sound ledger and on a changed one."""
    assert rigged.audit(how=How(processes=2)) == rigged.audit()

    for statements, _ in TAMPERED.values():
        rigged.run(*statements)
    assert rigged.audit().findings != ()
    assert rigged.audit(how=How(processes=2)) == rigged.audit()


def test_bytes_that_move_between_columns_are_found(copies: Copies) -> None:
    """An id a byte short, a time and a digest shifted by one: together they still read like the leaf."""
    rigged = copies.new("sqlite")
    ((raw_id, at_us, digest),) = rigged.run("SELECT id, observed_at_us, digest FROM record WHERE idx = 20")
    shifted = int.from_bytes((raw_id[15:] + at_us.to_bytes(8))[:8], signed=True)
    rigged.run(
        (
            "UPDATE record SET id = ?, observed_at_us = ?, digest = ? WHERE idx = 20",
            [raw_id[:15], shifted, at_us.to_bytes(8)[7:] + digest],
        ),
        ("UPDATE payload SET record_id = ? WHERE record_id = ?", [raw_id[:15], raw_id]),
        ("UPDATE prediction SET observed_at_us = ? WHERE idx = 20", [shifted]),
    )

    finding = rigged.audit().findings[0]
    assert (finding.at, finding.cause) == (20, Cause.COLUMN)


@given(st.lists(st.integers(0, 50), max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_times_add_up_over_ranges(times: list[int], cuts: list[int]) -> None:
    """The latest time and the lag come out the same, wherever the records are cut."""
    whole = reduce(Tally.then, map(_tally, [[each] for each in times]), Tally())
    edges = sorted({min(each, len(times)) for each in cuts} | {0, len(times)})
    parts = [reduce(Tally.then, map(_tally, [[t] for t in times[a:b]]), Tally()) for a, b in pairwise(edges)]

    latest = list(accumulate(times, max))
    assert reduce(Tally.then, parts, Tally()) == whole
    assert whole.latest_us == max(times, default=0)
    assert whole.lag_us == max((high - each for high, each in zip(latest, times, strict=True)), default=0)


def _tally(times: list[int]) -> Tally:
    return Tally(records=1, latest_us=times[0], earliest_us=times[0])
