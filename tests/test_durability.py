"""When the disk, the server or the line fails: never an answer on a guess; and settings that would lie are refused."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from db import postgresql, sqlite
from db.engine import StorageUnavailable, open_pen
from db.ledger import Ledger, LedgerUnavailable
from tests import auditor
from tests.ledgers import DATABASES, SEAL, fresh, predicted, writing
from tests.postgres import Postgres, name_of, plain

IN_TIME_S = 30.0  # deadlines are a second or less here, and the machine may be busy


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger; whatever failed meanwhile, it must be consistent in the end."""
    url = fresh(request.param, request, tmp_path)
    yield url
    assert auditor.audit(url) == []


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger in a file, consistent in the end."""
    url = fresh("sqlite", request, tmp_path)
    yield url
    assert auditor.audit(url) == []


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """Run a server that nobody else uses, to be killed, stopped and misconfigured."""
    with TemporaryDirectory(prefix="onrecord-") as folder, Postgres(Path(folder) / "pg") as server:
        yield server


@contextmanager
def commits(monkeypatch: pytest.MonkeyPatch, url: str, how: str) -> Iterator[None]:
    """Let the next COMMIT fail once: kept (done, but the answer is lost) or lost (never done)."""
    driver = sqlite._Pen if url.startswith("sqlite") else postgresql._Bounded
    error = sqlite3.OperationalError if driver is sqlite._Pen else psycopg.OperationalError

    def fail(connection: sqlite3.Connection | psycopg.Connection) -> None:
        monkeypatch.undo()
        connection.commit() if how == "kept" else connection.rollback()
        raise error("disk I/O error")

    monkeypatch.setattr(driver, "commit", fail, raising=False)
    yield


def test_a_log_that_a_reader_let_grow_is_cut(file: str) -> None:
    """What the write-ahead log grew to beside a long reader does not stay on the disk once it is gone."""
    path = file.removeprefix("sqlite:///")
    with writing(file) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN").execute("SELECT count(*) FROM record").fetchone()
        for each in (predicted() for _ in range(70)):
            ledger.append([replace(each, input=each.input + b" " * (1 << 20))])
        assert Path(f"{path}-wal").stat().st_size > 64 << 20
        reader.execute("ROLLBACK")
        for _ in range(3):
            ledger.append([predicted()])

        assert Path(f"{path}-wal").stat().st_size <= 64 << 20


class TestUnknownOutcome:
    def test_a_commit_whose_answer_is_lost_is_looked_up(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """COMMIT failed but was done: the records are found, so append succeeds with their places."""
        with writing(url) as ledger:
            ledger.append([predicted()])
            with commits(monkeypatch, url, "kept"):
                assert ledger.append([predicted(), predicted()]).places == [1, 2]
            assert ledger.append([predicted()]).places == [3]

    def test_a_commit_that_was_not_done_promises_nothing(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """COMMIT failed and nothing is stored: that is known, and the same records can be appended again."""
        record = predicted()
        with writing(url) as ledger:
            with commits(monkeypatch, url, "lost"), pytest.raises(LedgerUnavailable) as refused:
                ledger.append([record])
            assert not refused.value.outcome_unknown
            assert ledger.append([record]).places == [0]

    def test_what_was_looked_up_is_in_the_file_itself(
        self, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """After a failed commit SQLite's log is not trusted: what append returns is in the synced database file."""
        name = file.removeprefix("sqlite:///")
        with writing(file) as ledger, closing(sqlite3.connect(name)) as reader:
            reader.execute(
                "SELECT * FROM head"
            ).fetchall()  # while someone reads, closing the pen copies nothing
            with commits(monkeypatch, file, "kept"):
                ledger.append([predicted(), predicted()])
            shutil.copy(name, tmp_path / "copy.db")

        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("SELECT count(*) FROM record").fetchone() == (2,)

    def test_what_cannot_be_made_durable_is_unknown(self, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a reader keeps SQLite from copying its log, a doubtful commit is neither promised nor denied."""
        record = predicted()
        with (
            writing(file, 0.3) as ledger,
            closing(sqlite3.connect(file.removeprefix("sqlite:///"))) as reader,
        ):
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM head").fetchall()
            with commits(monkeypatch, file, "kept"), pytest.raises(LedgerUnavailable) as refused:
                ledger.append([record])
            reader.rollback()

            assert refused.value.outcome_unknown
            assert ledger.append([record]).places == [0]

    def test_a_disk_that_takes_no_more_promises_nothing(self, file: str) -> None:
        """A write that the operating system refuses fails that group only; the next one is stored."""
        lost, kept = predicted(), predicted()
        with writing(file) as ledger:
            ledger.append([predicted()])
            largest = max(
                each.stat().st_size for each in Path(file.removeprefix("sqlite:///")).parent.iterdir()
            )
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
            try:
                with pytest.raises(LedgerUnavailable, match=r"disk I/O error|full"):
                    ledger.append([lost, *(predicted() for _ in range(1000))])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert ledger.append([kept]).places == [1]

    def test_terminated_connections_never_lead_to_a_wrong_answer(self, postgres: Postgres) -> None:
        """However the server cuts the pen off, what append returned is stored and what it denied is not."""
        url = postgres.new_ledger()
        name = name_of(url)
        kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        stop = threading.Event()

        def cut() -> None:
            while not stop.wait(0.004):
                postgres.execute(kill)

        told: dict[str, bytes] = {}
        denied: list[str] = []
        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            with writing_patiently(url) as ledger:
                for _ in range(150):
                    record = predicted()
                    try:
                        ledger.append([record])
                        told[str(record.id)] = record.output
                    except LedgerUnavailable as refused:
                        if not refused.outcome_unknown:
                            denied.append(str(record.id))
        finally:
            stop.set()
            cutter.join()

        assert told
        assert denied
        assert auditor.audit(url, told) == []
        assert not set(denied) & {str(row[0]) for row in postgres.execute("SELECT id FROM record", name)}

    def test_a_server_that_is_gone_leaves_the_outcome_open(self, own: Postgres) -> None:
        """When the server dies in COMMIT and stays away, append says so in time; later the record has one place."""
        url = own.new_ledger()
        record = predicted()
        engine = open_pen(url, 1.0)
        ledger = Ledger(engine, SEAL, 1.0)

        def die(self: psycopg.Connection[object]) -> None:
            own.kill()
            psycopg.Connection.commit(self)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(LedgerUnavailable) as refused:
            patch.setattr(postgresql._Bounded, "commit", die)
            started = time.monotonic()
            ledger.append([record])
        took_s = time.monotonic() - started
        own.start()

        assert refused.value.outcome_unknown
        assert took_s < IN_TIME_S
        assert ledger.append([record]).places == [0]
        assert ledger.append([predicted()]).places == [1]
        engine.dispose()
        assert auditor.audit(url) == []

    def test_a_standby_that_does_not_answer_keeps_the_promise_back(self, own: Postgres) -> None:
        """Committed here but not on the synchronous standby is not yet durable: unknown until the standby is back."""
        url = own.new_ledger()
        record = predicted()
        with writing(url, 0.5) as ledger:
            ledger.append([predicted()])
            wait_for_a_standby_called_nobody(own)
            canceller = threading.Timer(0.3, own.execute, [CANCEL_COMMITS])
            canceller.start()
            try:
                with pytest.raises(LedgerUnavailable) as refused:
                    ledger.append([record])
            finally:
                canceller.join()
                own.execute("ALTER SYSTEM RESET synchronous_standby_names")
                own.execute("SELECT pg_reload_conf()")

            assert refused.value.outcome_unknown
            assert ledger.append([record]).places == [1]


CANCEL_COMMITS = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def wait_for_a_standby_called_nobody(server: Postgres) -> None:
    """Let commits wait for a standby that does not exist; they do once a commit complains of being cancelled."""
    server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.execute("SELECT pg_reload_conf()")
    complaints: list[object] = []
    while not complaints:
        canceller = threading.Timer(0.1, server.execute, [CANCEL_COMMITS])
        with psycopg.connect(plain(server.url())) as connection:
            connection.add_notice_handler(complaints.append)
            connection.execute("COMMENT ON DATABASE postgres IS 'a commit'")
            canceller.start()
        canceller.join()


@contextmanager
def writing_patiently(url: str) -> Iterator[Ledger]:
    """Hold the pen where even opening it may be cut off."""
    while True:
        try:
            engine = open_pen(url)
            break
        except StorageUnavailable:
            continue
    try:
        yield Ledger(engine, SEAL)
    finally:
        engine.dispose()


class TestWaiting:
    def test_a_hung_holder_of_the_head_does_not_hang_everyone(self, postgres: Postgres) -> None:
        """When another host holds the head and does not go on, append gives up in time and works again later."""
        url = postgres.new_ledger()
        with writing(url, 0.5) as ledger, psycopg.connect(plain(url)) as other:
            other.execute("SELECT * FROM head FOR UPDATE")
            started = time.monotonic()
            with pytest.raises(LedgerUnavailable) as refused:
                ledger.append([predicted()])
            took_s = time.monotonic() - started
            other.rollback()

            assert (refused.value.outcome_unknown, took_s < IN_TIME_S) == (False, True)
            assert ledger.append([predicted()]).places == [0]

    def test_a_silent_server_does_not_hang_the_pen(self, own: Postgres) -> None:
        """When the server process stops without closing its connection, append gives up in time."""
        url = own.new_ledger()
        name = name_of(url)
        with writing(url, 0.5) as ledger:
            ledger.append([predicted()])
            ((pid,),) = own.execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'")
            os.kill(pid, signal.SIGSTOP)
            started = time.monotonic()
            try:
                with pytest.raises(LedgerUnavailable):
                    ledger.append([predicted()])
                took_s = time.monotonic() - started
            finally:
                os.kill(pid, signal.SIGCONT)

            assert took_s < IN_TIME_S
            assert ledger.append([predicted()]).places == [1]
