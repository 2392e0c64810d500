"""SQLite's log is copied beside the commits: none of them waits for that, and the log stays bounded all the same."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from db import sqlite, sqlite_log
from db.engine import open_reader
from db.ledger import Ledger, LedgerUnavailable
from tests import auditor, faults
from tests.ledgers import fresh, predicted, writing
from tests.writer import findings, writer

PAGE = 4096 + 24  # bytes of one page in the log
GROUPS = 3_000  # of appends, until something that comes of itself must have come
KILLS = 2
PATIENCE_S = 60.0


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger in a file, consistent in the end."""
    url = fresh("sqlite", request, tmp_path)
    yield url
    assert auditor.audit(url) == []


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a log long after some groups, and try again at once."""
    for name, value in {"LONG": 200, "SHORT": 100, "PAUSE_S": 0.0}.items():
        monkeypatch.setattr(sqlite_log, name, value)


def file_of(url: str, end: str = "") -> Path:
    return Path(url.removeprefix("sqlite:///") + end)


def generation(url: str) -> bytes:
    """Read what tells a log that began anew from the one before."""
    return file_of(url, "-wal").read_bytes()[12:24]


def append_until(
    is_so: Callable[[], bool], ledger: Ledger, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Append as the engine does under load, without any pause."""
    for _ in range(GROUPS):
        ledger.append([predicted()])
        ledger.tend()
        meanwhile()
        if is_so():
            return
    pytest.fail("it never came")


def begun_anew(url: str) -> Callable[[], bool]:
    """Return what says whether the log began anew since now."""
    before = generation(url)
    return lambda: generation(url) != before


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Stop every copy beside the commits where it begins to copy: it says so, and waits until it may go."""
    inside, go = threading.Event(), threading.Event()
    copy = sqlite_log._copy

    def wait_and_copy(connection: sqlite3.Connection) -> sqlite_log._Copied:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go.wait(PATIENCE_S)  # where a test fails, it must not hang
            go.clear()
        return copy(connection)

    monkeypatch.setattr(sqlite_log, "_copy", wait_and_copy)
    yield inside, go
    go.set()


@pytest.mark.usefixtures("soon")
def test_the_log_stays_bounded_under_load_that_never_pauses(
    url: str, beside: tuple[threading.Event, threading.Event]
) -> None:
    """Something is committed during every copy, so that none gets to the end: the log begins anew all the same."""
    inside, go = beside

    def commit_and_go() -> None:
        if inside.is_set():
            ledger.append([predicted()])
            inside.clear()
            go.set()

    with writing(url) as ledger:
        ledger.append([predicted()])
        for _ in range(3):
            append_until(begun_anew(url), ledger, commit_and_go)

        assert file_of(url, "-wal").stat().st_size < sqlite_log.LAST_RESORT * PAGE


def test_no_commit_copies_the_log(url: str) -> None:
    """However long the log gets by commits, the file is as it was until the log is seen to between two of them."""
    filling = b" " * (4 << 20)
    with writing(url) as ledger:
        ledger.append([predicted()])
        before = file_of(url).read_bytes()
        for _ in range(sqlite_log.LONG // 1000):  # a little more than 1000 pages each
            record = predicted()
            ledger.append([replace(record, input=record.input + filling)])
        assert file_of(url).read_bytes() == before

        ledger.tend()
        append_until(begun_anew(url), ledger)
        assert file_of(url).read_bytes() != before


def test_a_log_that_nobody_tends_is_copied_by_a_commit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last resort: commits alone let the log begin anew, only later."""
    soon = ("wal_autocheckpoint", "100", 100)
    settings = [soon if each[0] == soon[0] else each for each in sqlite._PEN]
    monkeypatch.setattr(sqlite, "_PEN", settings)
    with writing(url) as ledger:
        ledger.append([predicted()])
        before = generation(url)
        for _ in range(100):
            ledger.append([predicted()])

        assert generation(url) != before


@pytest.mark.usefixtures("soon")
def test_the_log_does_not_begin_anew_while_it_is_copied(
    url: str, beside: tuple[threading.Event, threading.Event]
) -> None:
    """SQLite before 3.51.3 can lose pages where it does: whatever the pen copies and commits, the log goes on."""
    inside, go = beside
    with writing(url) as ledger:
        ledger.append([predicted()])
        append_until(inside.is_set, ledger)
        is_another = begun_anew(url)
        for _ in range(3):
            with ledger._engine.connect() as pen:
                pen.connection.cursor().execute(sqlite_log._COPY)
            ledger.append([predicted()])
        began_anew = is_another()
        go.set()

    assert not began_anew


def bound_of(ledger: Ledger) -> int:
    """Read after how many pages a COMMIT would copy the log."""
    with ledger._engine.connect() as pen:
        return int(pen.connection.cursor().execute("PRAGMA wal_autocheckpoint").fetchone()[0])


@pytest.mark.usefixtures("soon")
def test_a_long_reader_stops_nobody(url: str) -> None:
    """While somebody reads, the log grows and all else goes on; no COMMIT after that copies all of it at once."""
    reader = open_reader(url)
    with writing(url) as ledger:
        ledger.append([predicted()])
        with reader.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            is_another = begun_anew(url)
            seen = connection.exec_driver_sql("SELECT count(*) FROM record").scalar()
            append_until(lambda: bound_of(ledger) > sqlite_log.LAST_RESORT, ledger)
            assert connection.exec_driver_sql("SELECT count(*) FROM record").scalar() == seen
            assert not is_another()
        append_until(is_another, ledger)
        append_until(lambda: bound_of(ledger) == sqlite_log.LAST_RESORT, ledger)
    reader.dispose()


@pytest.mark.usefixtures("soon")
def test_a_copy_that_fails_stops_nobody(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine hears of it, records are appended all the same, and the next copy makes up for it."""
    with monkeypatch.context() as broken, writing(url) as ledger:
        broken.setattr(sqlite_log.Log, "_sync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(LedgerUnavailable, match="no space left"):
            for _ in range(GROUPS):
                ledger.append([predicted()])
                ledger.tend()
        ledger.append([predicted()])
        broken.undo()
        append_until(begun_anew(url), ledger)


def test_a_kill_while_the_log_is_copied_loses_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """P1: wherever in a copy the engine dies, every record that was promised is there afterwards."""
    url = fresh("sqlite", request, tmp_path)
    for _ in range(KILLS):
        with writer(url, tmp_path / "journals", "copies-each-group") as scribe:
            scribe.ask("open")
            before = generation(url)
            scribe.tell("append", 3, GROUPS)
            faults.wait_until(lambda was=before: generation(url) != was, faults.GONE_WITHIN_S)
            scribe.kill()

    assert findings(url, tmp_path / "journals") == []
