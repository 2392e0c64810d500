"""What is appended stays, all of it or nothing, and no database is used that could not keep it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from db.ledger import Ledger, LedgerUnavailable, RecordConflict, RecordRefused
from tests import auditor
from tests.ledgers import DATABASES, changed, fresh, predicted, writing
from tests.postgres import Postgres, plain


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger; whatever a test did to it, it must be consistent in the end."""
    url = fresh(request.param, request, tmp_path)
    yield url
    assert auditor.audit(url) == []


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Hold the pen of an empty ledger."""
    with writing(url) as ledger:
        yield ledger


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Make an empty ledger in a file."""
    return fresh("sqlite", request, tmp_path)


def look(url: str, query: str) -> list[tuple[Any, ...]]:
    """Read with the bare driver, as a stranger would."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(plain(url)) as server:
        return server.execute(query.encode()).fetchall()


class TestAppend:
    def test_an_appended_group_is_there_for_everyone(self, ledger: Ledger, url: str) -> None:
        """When append returns, another connection finds every record byte for byte, and its rows."""
        group = [predicted(("r-1", "<=50K", 0.1), ("r-2", ">50K", 0.9)), changed(), predicted()]

        ledger.append(group)

        assert auditor.audit(url, {str(each.id): each.output for each in group}) == []
        assert look(url, "SELECT count(*) FROM prediction") == [(3,)]

    def test_places_are_dense_and_in_the_order_given(self, ledger: Ledger) -> None:
        """Records get the places 0, 1, 2, … in the order in which they were appended."""
        assert ledger.append([predicted() for _ in range(3)]).places == [0, 1, 2]
        assert ledger.append([predicted()]).places == [3]

    def test_nothing_to_append_is_nothing(self, ledger: Ledger, url: str) -> None:
        """An empty group costs no transaction and leaves no trace."""
        assert ledger.append([]).places == []
        assert look(url, "SELECT size FROM head") == [(0,)]

    def test_a_record_appended_again_keeps_its_place(self, ledger: Ledger, url: str) -> None:
        """Repeating an append changes nothing, alone or among new records."""
        old, new = predicted(), predicted()
        ledger.append([predicted(), old])

        assert ledger.append([old]).places == [1]
        assert ledger.append([new, old]).places == [2, 1]
        assert look(url, "SELECT size FROM head") == [(3,)]

    def test_a_record_twice_in_one_group_is_stored_once(self, ledger: Ledger, url: str) -> None:
        """The same record given twice at once is one record."""
        record = predicted()

        assert ledger.append([record, record]).places == [0, 0]
        assert look(url, "SELECT count(*) FROM payload") == [(1,)]

    @pytest.mark.parametrize("field", ["output", "input", "actor", "meta"])
    def test_other_bytes_under_the_same_id_are_refused(self, ledger: Ledger, url: str, field: str) -> None:
        """An id stands for one content for ever; the rest of such a group is not appended either."""
        record = predicted()
        ledger.append([record])

        with pytest.raises(RecordConflict, match=str(record.id)):
            ledger.append([predicted(), replace(record, **{field: b"{}\n"})])
        with pytest.raises(RecordConflict):
            ledger.append([predicted(), replace(record, status=422), record])
        assert look(url, "SELECT size FROM head") == [(1,)]

    def test_what_a_database_cannot_store_is_refused(self, ledger: Ledger, url: str) -> None:
        """A record that cannot be stored is not an outage: it is refused, alone with its group."""
        nothing: Any = None
        broken = replace(predicted(), client_id=nothing)
        if url.startswith("postgresql"):
            with pytest.raises(RecordRefused):
                ledger.append([predicted(("a\0b", "x", 0.5))])

        with pytest.raises(RecordRefused):
            ledger.append([predicted(), broken])
        assert ledger.append([predicted()]).places == [0]

    @pytest.mark.parametrize("count", [99, 100, 257])
    def test_a_large_request_has_a_row_for_each_instance(self, ledger: Ledger, url: str, count: int) -> None:
        """However many instances a request has, every row says what the request and its answer say."""
        large = predicted(*((f"r-{n}" if n % 3 else None, "<=50K", n / 1000) for n in range(count)))

        ledger.append([predicted(), large])

        found = look(url, "SELECT position, reference, label, score FROM prediction WHERE idx = 1 ORDER BY 1")
        assert [tuple(each) for each in large.rows] == found

    def test_of_a_large_request_that_is_refused_nothing_is_left(self, ledger: Ledger, url: str) -> None:
        """A row in the middle that cannot be stored takes all those before it along."""
        nothing: Any = None
        good = predicted(*((None, "<=50K", n / 1000) for n in range(257)))
        twice = replace(good, rows=(*good.rows[:130], good.rows[50], *good.rows[131:]))
        without = replace(good, rows=(*good.rows[:256], good.rows[256]._replace(position=nothing)))

        for broken in (twice, without):
            with pytest.raises(RecordRefused):
                ledger.append([broken])

        assert look(url, "SELECT count(*) FROM prediction") == [(0,)]
        assert look(url, "SELECT size FROM head") == [(0,)]

    def test_threads_may_append_at_once(self, ledger: Ledger) -> None:
        """Groups from several threads queue on the pen and never share a place."""
        places: list[int] = []

        def append() -> None:
            for _ in range(10):
                places.extend(ledger.append([predicted(), predicted()]).places)

        threads = [threading.Thread(target=append) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(places) == list(range(80))

    def test_records_cannot_be_changed_or_deleted(self, ledger: Ledger, url: str) -> None:
        """The database itself refuses UPDATE and DELETE on records, whoever asks."""
        ledger.append([predicted()])

        statements = ["UPDATE record SET status = 200", "DELETE FROM record"]
        if url.startswith("postgresql"):
            statements.append("TRUNCATE record")
        for statement in statements:
            with pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="append-only"):
                look(url, statement)

    def test_how_late_a_record_came_is_remembered(self, ledger: Ledger, url: str) -> None:
        """The head knows the latest time and the longest delay behind it, across groups."""
        ledger.append([predicted(at_us=1_000), predicted(at_us=5_000), predicted(at_us=4_000)])
        ledger.append([predicted(at_us=2_000), predicted(at_us=6_000)])

        assert look(url, "SELECT latest_us, lag_us FROM head") == [(6_000, 3_000)]


class TestChange:
    def test_a_change_and_its_record_come_together(self, ledger: Ledger, url: str) -> None:
        """What `apply` did is visible together with the record of it."""
        assert ledger.change(changed(), register).places == [0]
        assert look(url, "SELECT version FROM version") == [("1",)]

    def test_a_change_that_fails_leaves_nothing(self, ledger: Ledger, url: str) -> None:
        """When `apply` raises, neither the change nor its record stays, and the exception is its own."""

        def fail(connection: Connection) -> None:
            register(connection)
            raise LookupError("no such client")

        with pytest.raises(LookupError, match="no such client"):
            ledger.change(changed(), fail)
        assert look(url, "SELECT (SELECT count(*) FROM version) + size FROM head") == [(0,)]
        assert ledger.append([predicted()]).places == [0]

    def test_a_head_that_moves_under_its_lock_stops_the_append(self, ledger: Ledger, url: str) -> None:
        """A writer that ignores the lock cannot make two records share a place: the append gives way."""
        with pytest.raises(LedgerUnavailable, match="head moved"):
            ledger.change(changed(), move_head)
        assert look(url, "SELECT (SELECT count(*) FROM payload) + size FROM head") == [(0,)]

    def test_a_repeated_change_is_not_applied_again(self, ledger: Ledger, url: str) -> None:
        """A stored record of a change proves that it was made."""
        record = changed()
        ledger.change(record, register)

        assert ledger.change(record, register).places == [0]
        assert look(url, "SELECT count(*) FROM version") == [(1,)]


def move_head(connection: Connection) -> None:
    """Do what only the ledger may do."""
    connection.execute(text("UPDATE head SET size = size + 1"))


def register(connection: Connection) -> None:
    """Change something; a second time would violate the primary key."""
    connection.execute(
        text("INSERT INTO version (model, version, digest, registered_at_us) VALUES ('income', '1', 'ab', 0)")
    )


class TestProcesses:
    def test_a_killed_writer_loses_nothing_it_was_told(self, url: str) -> None:
        """Every append that returned before SIGKILL is there afterwards, and the next writer goes on."""
        script = (
            "import sys\nfrom tests.ledgers import predicted, writing\n"
            "with writing(sys.argv[1]) as ledger:\n"
            "    while True:\n        group = [predicted(), predicted()]\n        ledger.append(group)\n"
            "        print(group[1].id, group[1].output.hex(), flush=True)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = [child.stdout.readline().split() for _ in range(20)]
        child.kill()
        told += [
            line.split() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")
        ]
        child.wait()
        child.stdout.close()

        assert auditor.audit(url, {record: bytes.fromhex(output) for record, output in told}) == []
        with writing(url) as ledger:
            assert ledger.append([predicted()]).places[0] >= 40

    def test_a_second_writer_of_a_file_is_refused(self, file: str) -> None:
        """While one process holds the pen of a file, another is told to wait for its end, and then gets it."""
        script = "import sys; from db.engine import open_pen; open_pen(sys.argv[1]).dispose()"
        command = [sys.executable, "-c", script, file]

        with writing(file):
            refused = subprocess.run(command, capture_output=True, text=True, check=False)
        accepted = subprocess.run(command, capture_output=True, text=True, check=False)

        assert "another process writes this database" in refused.stderr
        assert accepted.returncode == 0, accepted.stderr

    def test_readers_in_other_processes_see_what_is_appended(self, url: str) -> None:
        """A reader may open before the first record, while the pen is held, and after it was put down."""
        script = (
            "import sys\nfrom db.engine import open_reader\nfrom db.lookups import Filter, Lookups\n"
            "print(len(Lookups(open_reader(sys.argv[1])).search(Filter())))"
        )

        def count() -> int:
            done = subprocess.run(
                [sys.executable, "-c", script, url], capture_output=True, text=True, check=True
            )
            return int(done.stdout)

        with writing(url) as ledger:
            before = count()
            ledger.append([predicted(), predicted()])
            during = count()
        assert (before, during, count()) == (0, 2, 2)

    def test_two_hosts_share_one_postgresql(self, postgres: Postgres) -> None:
        """Two engines append to one database at once: no place is given twice, none is left out."""
        url = postgres.new_ledger()
        places: list[int] = []

        def append() -> None:
            with writing(url) as ledger:
                for size in range(1, 25):
                    places.extend(ledger.append([predicted() for _ in range(size)]).places)

        threads = [threading.Thread(target=append) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(places) == list(range(600))
        assert auditor.audit(url) == []
