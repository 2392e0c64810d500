"""P1 when the line to PostgreSQL breaks around a COMMIT, at any byte: nothing lost, doubled or answered on a guess."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cutting import COMMIT, COMMITTED, Break, Line, line_to
from tests.postgres import Postgres, name_of
from tests.writer import Writer, findings, read, writer

DEADLINE_S = 1.0
IN_TIME_S = 40.0  # the deadline twice, the grace before it, and a busy machine
BREAKS = {
    **{f"{k} bytes of the question": Break(asked=k) for k in range(len(COMMIT))},
    **{f"{k} bytes of the answer": Break(answered=k) for k in range(len(COMMITTED))},
    "reset in the question": Break(asked=5, how="reset"),
    "reset on the answer": Break(how="reset"),
}


@pytest.fixture
def url(postgres: Postgres) -> str:
    """Make an empty ledger."""
    return postgres.new_ledger()


@pytest.fixture
def line(postgres: Postgres) -> Iterator[Line]:
    """Run a line to the server."""
    with line_to(postgres.folder) as line:
        yield line


@pytest.fixture
def writing(url: str, line: Line, tmp_path: Path) -> Iterator[Writer]:
    """Run a writer over the line; whatever happened, all that it said must be so."""
    with writer(line.url(name_of(url)), tmp_path / "journals", deadline_s=DEADLINE_S) as writing:
        assert writing.ask("append", 1) == "done"
        yield writing
        line.mend()
        assert writing.ask("append", 1) == "done"
    assert findings(url, tmp_path / "journals") == []


def test_a_line_that_breaks_at_any_byte_of_a_commit_loses_nothing(
    url: str, line: Line, writing: Writer, tmp_path: Path
) -> None:
    """C5: if the server got the whole COMMIT the records are found and answered; if not, they are denied."""
    for number, (name, line.next) in enumerate(BREAKS.items(), 1):
        expected = "done" if line.next.asked == len(COMMIT) else "LedgerUnavailable"

        assert writing.ask("append", 2).startswith(expected), name
        assert line.broken == number
        assert findings(url, tmp_path / "journals") == [], name
        assert writing.ask("again") == "done"


@pytest.mark.parametrize("asked", [0, len(COMMIT)], ids=["question", "answer"])
def test_a_line_that_falls_silent_is_given_up_in_time(line: Line, writing: Writer, asked: int) -> None:
    """C5: half-open: nobody hears anything any more and nobody is told; the writer asks anew on another line."""
    line.next = Break(asked=asked, how="silence")
    started = time.monotonic()
    said = writing.ask("append", 2)

    assert time.monotonic() - started < IN_TIME_S
    assert said.startswith("done" if asked else "LedgerUnavailable")
    assert line.broken == 1
    assert writing.ask("again") == "done"


@pytest.mark.parametrize("asked", [0, len(COMMIT)], ids=["question", "answer"])
def test_a_line_that_is_gone_leaves_the_outcome_open(
    line: Line, writing: Writer, asked: int, tmp_path: Path
) -> None:
    """C5: as long as nobody can look, nothing is promised and nothing denied; then the records have one place."""
    line.next = Break(asked=asked, is_for_good=True)
    assert writing.ask("append", 2).startswith("LedgerUnavailable")
    assert read(tmp_path / "journals").denied == set()
    line.mend()

    assert writing.ask("again") == "done"


@pytest.mark.parametrize(
    ("mutation", "broken", "finding"),
    [
        ("denies", Break(answered=0), "denied and is on record"),
        ("believes", Break(asked=0), "was answered"),
    ],
)
def test_a_writer_that_guesses_is_caught(
    url: str, line: Line, tmp_path: Path, mutation: str, broken: Break, finding: str
) -> None:
    """C5, M9, M10: whoever takes an unknown outcome for a failure, or for a success, is found out."""
    with writer(line.url(name_of(url)), tmp_path / "journals", mutation, deadline_s=DEADLINE_S) as writing:
        writing.ask("append", 1)
        line.next = broken
        writing.ask("append", 2)

    assert finding in str(findings(url, tmp_path / "journals"))
