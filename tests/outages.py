"""Ways in which a database stops keeping what it is given, made from outside while the service runs, and undone."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from tests import faults
from tests.conftest import must_have
from tests.postgres import Postgres, name_of, plain
from tests.service import Service

Outage = Callable[[Service], AbstractContextManager[None]]


@contextmanager
def full(service: Service) -> Iterator[None]:
    """Let the engine write to no file, as on a disk without room for anything."""
    with no_writing(faults.engine_of(service)):
        yield


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Hold SQLite's write lock from another process's connection."""
    with contextlib.closing(sqlite3.connect(file_of(service), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def read_only(service: Service) -> Iterator[None]:
    """Make the folder of the file read-only for everything that is opened in it from now on, as a remount would.

    What the engine has open it must open again, so it is kept from writing once.
    """
    folder = str(file_of(service).parent)
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", folder, folder], check=False).returncode != 0:
        must_have("the right to mount a folder read-only")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        with no_writing(faults.engine_of(service)), service.caller() as caller:
            caller.predict("housing", {"age": 1})
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def head_locked(service: Service) -> Iterator[None]:
    """Hold the one row that every append needs, in a PostgreSQL session that does nothing."""
    with psycopg.connect(plain(service.database_url)) as other:
        other.execute("SELECT 1 FROM head FOR UPDATE")
        yield
        other.rollback()


def stopped(server: Postgres) -> Outage:
    """Stop PostgreSQL and start it again."""

    @contextmanager
    def outage(_service: Service) -> Iterator[None]:
        server.stop()
        try:
            yield
        finally:
            server.start()

    return outage


def refusing_writes(server: Postgres) -> Outage:
    """Refuse every record as a server does that is only a standby by now."""

    @contextmanager
    def outage(service: Service) -> Iterator[None]:
        trigger = (
            "CREATE FUNCTION is_standby() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE"
            " read_only_sql_transaction USING MESSAGE = 'cannot execute INSERT in a read-only transaction'; END $$",
            "CREATE TRIGGER is_standby BEFORE INSERT ON payload FOR EACH STATEMENT EXECUTE FUNCTION is_standby()",
        )
        name = name_of(service.database_url)
        for statement in trigger:
            server.execute(statement, name)
        try:
            yield
        finally:
            server.execute("DROP FUNCTION is_standby CASCADE", name)

    return outage


@contextmanager
def no_writing(pid: int) -> Iterator[None]:
    """Let every write of a process to a file fail."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def file_of(service: Service) -> Path:
    """Name the file of a service on SQLite."""
    return Path(service.database_url.removeprefix("sqlite:///"))
