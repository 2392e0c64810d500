"""P1 at every moment of an append: the writer dies or hangs there, or is cut off by the server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from tests.families import GONE_WITHIN_S, wait_until
from tests.ledgers import DATABASES, fresh
from tests.postgres import Postgres, name_of
from tests.sealed import leaves_of
from tests.writer import Gone, Writer, findings, writer
from tests.wrongs import MOMENTS

DEADLINE_S = 1.0
IN_TIME_S = 40.0  # the deadline, its grace, the look afterwards, and a busy machine
DURABLE_FROM = list(MOMENTS).index("committed")


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger; whatever happened to it, all that was said of it must be so."""
    url = fresh(request.param, request, tmp_path)
    yield url
    assert findings(url, tmp_path) == []


@pytest.fixture
def shared(postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger that several hosts write."""
    url = postgres.new_ledger()
    yield url
    assert findings(url, tmp_path) == []


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """Run a server that nobody else uses, to be killed and misconfigured."""
    with TemporaryDirectory(prefix="onrecord-") as folder, Postgres(Path(folder) / "pg") as server:
        yield server


@contextmanager
def writers(url: str, folder: Path, count: int = 2, deadline_s: float = DEADLINE_S) -> Iterator[list[Writer]]:
    """Run several writers of one ledger, each of which has written already."""
    if count == 0:
        yield []
        return
    with (
        writer(url, folder, deadline_s=deadline_s) as one,
        writers(url, folder, count - 1, deadline_s) as rest,
    ):
        assert one.ask("append", 1) == "done"
        yield [one, *rest]


def is_stopped(pid: int) -> bool:
    """Say whether a process stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextmanager
def standing(holder: Writer, moment: str) -> Iterator[None]:
    """Let a writer stand still at a moment of its next append; it goes on at the end."""
    assert holder.ask("at", moment, signal.SIGSTOP) == "done"
    holder.tell("append", 3)
    wait_until(lambda: is_stopped(holder.pid), GONE_WITHIN_S)
    try:
        yield
    finally:
        os.kill(holder.pid, signal.SIGCONT)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_writer_killed_at_any_moment_leaves_all_or_nothing(url: str, tmp_path: Path, moment: str) -> None:
    """C1: before its commit nothing is on record, from then on everything; the next writer goes on unaided."""
    with writers(url, tmp_path, 1) as [one]:
        assert one.ask("at", moment, signal.SIGKILL) == "done"
        with pytest.raises(Gone):
            one.ask("append", 3)
    with writer(url, tmp_path) as another:
        assert another.ask("open") == "done"
        assert len(leaves_of(url)) == (4 if list(MOMENTS).index(moment) >= DURABLE_FROM else 1)
        assert another.ask("append", 2) == "done"


@pytest.mark.parametrize("moment", ["head locked", "records inserted", "head moved", "commit not sent"])
def test_a_writer_that_hangs_with_the_head_holds_up_nobody_for_long(
    shared: str, tmp_path: Path, moment: str
) -> None:
    """C8: while one host hangs with the lock, others are denied in time; it is thrown out and cannot commit later."""
    with writers(shared, tmp_path) as [one, two]:
        with standing(one, moment):
            started = time.monotonic()
            first = two.ask("append", 2)
            assert time.monotonic() - started < IN_TIME_S
            assert first == "done" or first.startswith("LedgerUnavailable")
            wait_until(lambda: two.ask("append", 2) == "done", IN_TIME_S)
        assert one.heard().startswith("LedgerUnavailable")
        assert one.ask("append", 1) == "done"


@pytest.mark.parametrize("moment", ["payloads inserted", "committed", "signed"])
def test_a_writer_that_hangs_without_the_head_holds_up_nobody(
    shared: str, tmp_path: Path, moment: str
) -> None:
    """C8: before the lock is taken and after the commit, a host that hangs is not even noticed."""
    with writers(shared, tmp_path, deadline_s=10.0) as [one, two]:
        with standing(one, moment):
            assert two.ask("append", 2) == "done"
        assert one.heard() == "done"
        assert two.ask("append", 1) == "done"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_writer_whose_backend_is_terminated_denies_or_finds(
    postgres: Postgres, shared: str, tmp_path: Path, moment: str
) -> None:
    """C4: the server cuts a writer off at any moment: it promises only what is on record, and goes on by itself."""
    with writers(shared, tmp_path, 1, deadline_s=10.0) as [one]:
        with standing(one, moment):
            cut_off(postgres, shared)
        is_durable = list(MOMENTS).index(moment) >= DURABLE_FROM
        assert one.heard().startswith("done" if is_durable else "LedgerUnavailable")
        wait_until(lambda: one.ask("append", 1) == "done", IN_TIME_S)


def test_a_writer_terminated_while_it_waits_for_the_head_denies(
    postgres: Postgres, shared: str, tmp_path: Path
) -> None:
    """C4: a writer that is cut off in the queue for the head has recorded nothing and says so."""
    with writers(shared, tmp_path, deadline_s=10.0) as [one, two]:
        with standing(one, "head locked"):
            two.tell("append", 2)
            wait_until(lambda: bool(waiting(postgres, shared)), IN_TIME_S)
            cut_off(postgres, shared, "AND wait_event_type = 'Lock'")
            assert two.heard().startswith("LedgerUnavailable")
        assert one.heard() == "done"
        assert two.ask("append", 1) == "done"


@pytest.mark.parametrize("blow", ["terminated", "killed", "stopped at once"])
def test_a_server_that_fails_inside_commit_leaves_it_open(own: Postgres, tmp_path: Path, blow: str) -> None:
    """C4: cut off while COMMIT waits for a standby, nothing is promised until it is known; then it has one place."""
    url = own.new_ledger()
    with writers(url, tmp_path, 1) as [one]:
        own.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        own.execute("SELECT pg_reload_conf()")
        one.tell("append", 3)
        wait_until(lambda: bool(waiting(own, url, "SyncRep")), IN_TIME_S)
        ((pid,),) = waiting(own, url, "SyncRep")
        if blow == "terminated":
            own.execute(f"SELECT pg_terminate_backend({pid})")
        elif blow == "killed":  # the server restarts all its processes
            os.kill(pid, signal.SIGKILL)
        else:
            own.kill()
            own.start()
        said = one.heard()
        wait_until(lambda: answers(own), IN_TIME_S)
        own.execute("ALTER SYSTEM RESET synchronous_standby_names")
        own.execute("SELECT pg_reload_conf()")

        assert said.startswith("LedgerUnavailable")
        wait_until(lambda: one.ask("again") == "done", IN_TIME_S)
    assert len(leaves_of(url)) == 4
    assert findings(url, tmp_path) == []


def waiting(server: Postgres, url: str, event: str = "transactionid") -> list[tuple[int]]:
    """Name the backends of a ledger that wait for something."""
    where = f"datname = '{name_of(url)}' AND wait_event IN ('{event}', 'tuple')"
    return server.execute(f"SELECT pid FROM pg_stat_activity WHERE {where}")


def cut_off(server: Postgres, url: str, where: str = "") -> None:
    """End the connections to a ledger from the server's side."""
    about = f"datname = '{name_of(url)}' {where}"
    assert server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {about}")


def answers(server: Postgres) -> bool:
    """Say whether a server answers."""
    try:
        return bool(server.execute("SELECT 1"))
    except psycopg.Error:
        return False
