"""Ranges of records given to several processes, and what these saw handed back in order.

On PostgreSQL all of them read the very moment that the audit holds. SQLite cannot share one: there they read no earlier
one, and below the size that the audit knows nothing changes but by an erasure, whose record stands above it; what they
suspect, and what such an erasure touched, is looked at again in the moment that the audit holds.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from db import auditing_schema as schema
from db.auditing_quick import Quick
from db.auditing_ranges import Examined, examine
from db.auditing_reads import Moment
from db.engine import StorageUnavailable, open_reader, reading, reason

RANGE = 2**12  # records; a perfect subtree of them, and half a second of work at most
_SMALL = 4 * RANGE  # fewer records than this are done before another process has started
_AHEAD = 2  # ranges that wait for each process: what they saw is kept until its turn comes
_DEADLINE_S = 600.0
_SENDING = (  # settings of PostgreSQL where records are read
    "enable_sort = off",  # who sorts sends nothing before all is read
    "max_parallel_workers_per_gather = 0",  # other cores have ranges of their own
    "statement_timeout = 0",  # a statement lasts as long as its records are looked at; who is silent is given up
)
_mine: list[_Own] = []  # of this process, if it is one of several


def ranges(wanted: range) -> Iterator[range]:
    """Cut places at multiples of RANGE."""
    start = wanted.start
    while start < wanted.stop:
        stop = min(start // RANGE * RANGE + RANGE, wanted.stop)
        yield range(start, stop)
        start = stop


def examined(engine: Engine, moment: Connection, wanted: range, processes: int) -> Iterator[Examined]:
    """Look at the records at these places, the last of the ledger among them; hand back what was seen in their order.

    Raises:
        StorageUnavailable: they cannot be read, or one of the processes died.
    """
    if processes == 1 or len(wanted) < _SMALL:
        quick = Quick()
        with _beside(engine, moment) as both:
            yield from (examine(both, each, wanted.stop, quick) for each in ranges(wanted))
        return
    url = engine.url.render_as_string(hide_password=False)
    # Spawned: a connection must not be in two processes, and a fork would have all of them.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (url, _snapshot(moment)))
    try:
        waiting: deque[Future[Examined]] = deque()
        for each in ranges(wanted):
            waiting.append(pool.submit(_examine, each, wanted.stop))
            if len(waiting) >= _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as broken:
        raise StorageUnavailable("a process of the audit died; nothing was found out") from broken
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _beside(engine: Engine, moment: Connection) -> Iterator[Moment]:
    """Lend a second connection to a moment, where records need one."""
    if (snapshot := _snapshot(moment)) is None:
        yield Moment(connection=moment, records=moment)
        return
    with reading(engine) as second:
        yield Moment(connection=moment, records=_sending(_joined(second, snapshot)))


def _joined(connection: Connection, snapshot: str) -> Connection:
    """Let a connection to PostgreSQL see the very moment that another one holds."""
    joined = connection.execution_options(isolation_level="REPEATABLE READ")
    joined.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    schema.pin(joined)
    return joined


def _sending(connection: Connection) -> Connection:
    """Let the server send what it reads while it goes on reading."""
    for setting in _SENDING:
        connection.exec_driver_sql(f"SET LOCAL {setting}")
    return connection


def _snapshot(moment: Connection) -> str | None:
    if moment.dialect.name == "sqlite":
        return None
    return str(moment.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())


def _prepare(url: str, snapshot: str | None) -> None:
    """Set up one of several processes: it ends with the one that started it, not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_follow, daemon=True).start()
    _mine.append(_Own(url, snapshot))


def _follow() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)  # killed, it could not say so


def _examine(within: range, size: int) -> Examined:
    with _mine[0].moment() as moment:
        return examine(moment, within, size, _mine[0].quick)


class _Own:
    """What one of several processes reads with, from its first range on."""

    def __init__(self, url: str, snapshot: str | None) -> None:
        self.quick = Quick()
        self._url, self._snapshot = url, snapshot
        self._opened: Moment | None = None

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """Open the database, the first time, and hold the moment of the audit, or this one.

        Raises:
            StorageUnavailable: it does not let another process in.
        """
        if self._opened is None:
            try:
                self._opened = self._open()
            except SQLAlchemyError as error:
                raise StorageUnavailable(reason(error)) from error
        connection = self._opened.connection
        if self._snapshot is None:
            connection.exec_driver_sql("BEGIN")
        try:
            yield self._opened
        finally:
            if self._snapshot is None:
                connection.rollback()

    def _open(self) -> Moment:
        engine = open_reader(self._url, _DEADLINE_S)
        if self._snapshot is None:
            connection = engine.connect()
            return Moment(connection=connection, records=connection)
        first, second = (_joined(engine.connect(), self._snapshot) for _ in range(2))
        return Moment(connection=first, records=_sending(second))
