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
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import postgresql, sqlite
from db.engine import StorageRefused, StorageUnavailable, open_pen, open_reader, reading
from db.ledger import Ledger, LedgerUnavailable
from db.lookups import Filter, Lookups
from tests import auditor
from tests.ledgers import DATABASES, fresh, predicted, writing
from tests.postgres import Postgres, name_of, plain


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


class TestUnknownOutcome:
    def test_a_commit_whose_answer_is_lost_is_looked_up(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """COMMIT failed but was done: the records are found, so append succeeds with their places."""
        with writing(url) as ledger:
            ledger.append([predicted()])
            with commits(monkeypatch, url, "kept"):
                assert ledger.append([predicted(), predicted()]) == [1, 2]
            assert ledger.append([predicted()]) == [3]

    def test_a_commit_that_was_not_done_promises_nothing(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """COMMIT failed and nothing is stored: that is known, and the same records can be appended again."""
        record = predicted()
        with writing(url) as ledger:
            with commits(monkeypatch, url, "lost"), pytest.raises(LedgerUnavailable) as refused:
                ledger.append([record])
            assert not refused.value.outcome_unknown
            assert ledger.append([record]) == [0]

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
            assert ledger.append([record]) == [0]

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
                    ledger.append([lost, *(predicted() for _ in range(50))])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert ledger.append([kept]) == [1]

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
        ledger = Ledger(engine, 1.0)

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
        assert took_s < 5
        assert ledger.append([record]) == [0]
        assert ledger.append([predicted()]) == [1]
        engine.dispose()
        assert auditor.audit(url) == []

    def test_a_standby_that_does_not_answer_keeps_the_promise_back(self, own: Postgres) -> None:
        """Committed here but not on the synchronous standby is not yet durable: unknown until the standby is back."""
        url = own.new_ledger()
        record = predicted()
        with writing(url, 0.5) as ledger:
            ledger.append([predicted()])
            own.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            own.execute("SELECT pg_reload_conf()")
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
            assert ledger.append([record]) == [1]


CANCEL_COMMITS = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


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
        yield Ledger(engine)
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

            assert (refused.value.outcome_unknown, took_s < 3) == (False, True)
            assert ledger.append([predicted()]) == [0]

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

            assert took_s < 5
            assert ledger.append([predicted()]) == [1]


class TestSettings:
    def test_every_new_pen_of_a_file_syncs_each_commit(self, file: str) -> None:
        """WAL and synchronous=FULL hold on the first connection and on the one after a failure."""
        engine = open_pen(file)
        for _ in range(2):
            with engine.connect() as connection:
                assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
                assert connection.scalar(text("PRAGMA synchronous")) == 2
                assert connection.scalar(text("PRAGMA foreign_keys")) == 1
                connection.invalidate()
        engine.dispose()

    @pytest.mark.parametrize(
        ("pragma", "wrong", "found"), [("synchronous", "NORMAL", 1), ("journal_mode", "DELETE", "delete")]
    )
    def test_a_file_that_does_not_keep_a_setting_is_refused(
        self, file: str, monkeypatch: pytest.MonkeyPatch, pragma: str, wrong: str, found: object
    ) -> None:
        """A pragma that reads back otherwise than it must names itself, what was found and what to do."""
        settings = [
            (name, wrong if name == pragma else asked, expected) for name, asked, expected in sqlite._PEN
        ]
        monkeypatch.setattr(sqlite, "_PEN", settings)

        with pytest.raises(StorageRefused) as refused:
            open_pen(file)
        assert (refused.value.setting, refused.value.value) == (pragma, found)
        assert refused.value.cure

    @pytest.mark.parametrize(
        "name",
        ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true", "sqlite:///a.db?mode=memory"],
    )
    def test_a_database_in_memory_is_refused(self, name: str) -> None:
        """What forgets cannot keep a record, to write or to read."""
        for opening in (open_pen, open_reader):
            with pytest.raises(StorageRefused, match="name a file"):
                opening(name)

    def test_another_kind_of_database_is_refused(self) -> None:
        """Only databases whose durability was thought through are taken."""
        with pytest.raises(StorageRefused, match="sqlite:///<file> or postgresql"):
            open_pen("mysql://localhost/x")

    @pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
    def test_a_server_that_would_lose_data_is_refused(self, own: Postgres, setting: str) -> None:
        """A server that runs without fsync or full pages is named with its cure."""
        url = own.new_ledger()
        own.stop()
        own.start(**{setting: "off"})
        try:
            with pytest.raises(StorageRefused, match=rf"{setting} is 'off': set it to on in the server"):
                open_pen(url)
        finally:
            own.stop()
            own.start()

    @pytest.mark.parametrize(
        ("setting", "wrong", "right"),
        [
            ("synchronous_commit", "off", "on"),
            ("synchronous_commit", "local", "on"),
            ("default_transaction_read_only", "on", "off"),
            ("default_transaction_isolation", "serializable", "read committed"),
        ],
    )
    def test_settings_of_a_role_do_not_weaken_the_pen(
        self, postgres: Postgres, setting: str, wrong: str, right: str
    ) -> None:
        """Whatever is set on the role, the pen's session has what the ledger needs."""
        url = postgres.new_ledger()
        postgres.execute(f"ALTER ROLE postgres IN DATABASE {name_of(url)} SET {setting} = '{wrong}'")

        engine = open_pen(url)

        with engine.connect() as connection:
            assert connection.scalar(text(f"SHOW {setting}")) == right
        engine.dispose()

    @pytest.mark.parametrize(
        "setting", ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    )
    def test_the_server_itself_ends_every_wait(self, postgres: Postgres, setting: str) -> None:
        """Locks, statements and a pen that hangs inside its transaction are cut off by the server at the deadline."""
        engine = open_pen(postgres.new_ledger(), 0.7)
        with engine.connect() as connection:
            assert connection.scalar(text(f"SHOW {setting}")) == "700ms"
        engine.dispose()

    def test_a_pen_that_finds_no_server_says_so(self, tmp_path: Path) -> None:
        """No server is a matter of trying again, not of settings."""
        with pytest.raises(StorageUnavailable):
            open_pen(f"postgresql+psycopg://postgres@/x?host={tmp_path}", 1.0)


class TestReaders:
    def test_a_reader_cannot_write(self, url: str) -> None:
        """The doors' connections refuse every change, whatever their role may do."""
        engine = open_reader(url)
        with pytest.raises(DBAPIError, match=r"read-?only"), engine.connect() as connection:
            connection.execute(text("UPDATE head SET size = 7"))
        with reading(engine) as connection:
            own = "PRAGMA query_only" if engine.dialect.name == "sqlite" else "SHOW transaction_read_only"
            assert connection.scalar(text(own)) in (1, "on")
        engine.dispose()

    def test_a_reader_of_nothing_says_so(self, tmp_path: Path) -> None:
        """Neither a missing file nor a missing server is created or taken for an empty ledger."""
        for name in (f"sqlite:///{tmp_path}/none.db", f"postgresql+psycopg://postgres@/x?host={tmp_path}"):
            engine = open_reader(name)
            with pytest.raises(StorageUnavailable):
                Lookups(engine).search(Filter())
            engine.dispose()
        assert list(tmp_path.iterdir()) == []

    def test_readers_outlive_a_restart_of_the_server(self, own: Postgres) -> None:
        """A connection that died in the pool is replaced without anybody noticing."""
        engine = open_reader(own.new_ledger())
        with reading(engine) as connection:
            connection.execute(text("SELECT 1"))
        own.kill()
        own.start()

        assert Lookups(engine).search(Filter()) == []
        engine.dispose()
