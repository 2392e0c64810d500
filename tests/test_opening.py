"""A database is opened only if it can keep what the ledger promises; a reader can do no harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import sqlite
from db.engine import StorageRefused, StorageUnavailable, open_pen, open_reader, reading
from db.lookups import Filter, Lookups
from tests.ledgers import DATABASES, fresh
from tests.postgres import Postgres, name_of


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty ledger."""
    return fresh(request.param, request, tmp_path)


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty ledger in a file."""
    return fresh("sqlite", request, tmp_path)


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """Run a server that nobody else uses, to be stopped and misconfigured."""
    with TemporaryDirectory(prefix="onrecord-") as folder, Postgres(Path(folder) / "pg") as server:
        yield server


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
        ("pragma", "wrong", "found"),
        [
            ("synchronous", "OFF", 0),
            ("synchronous", "NORMAL", 1),
            ("journal_mode", "DELETE", "delete"),
            ("journal_mode", "MEMORY", "memory"),
            ("journal_mode", "OFF", "off"),
        ],
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
            ("synchronous_commit", "remote_write", "on"),
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
