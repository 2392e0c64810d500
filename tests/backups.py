"""Backups as an operator takes and restores them: of a file, or of a database of a server."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from tests.postgres import create, name_of


class Backups:
    """Takes copies of databases and puts them back; nobody may be connected meanwhile."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request, self._folder, self._numbers = request, folder, count()

    def take(self, url: str) -> str:
        """Copy a database and return what names the copy."""
        if not url.startswith("sqlite"):
            server = self._request.getfixturevalue("postgres")
            _part(server, name_of(url))
            return str(server.new_database(name_of(url)))
        file = self._folder / f"backup-{next(self._numbers)}.db"
        with (
            closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source,
            closing(sqlite3.connect(file)) as copy,
        ):
            source.backup(copy)
        return f"sqlite:///{file}"

    def restore(self, backup: str, url: str) -> None:
        """Put the copy where the database was."""
        if not url.startswith("sqlite"):
            server = self._request.getfixturevalue("postgres")
            for name in (name_of(url), name_of(backup)):
                _part(server, name)
            create(url, template=name_of(backup))
            return
        file = Path(url.removeprefix("sqlite:///"))
        for suffix in ("-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(backup.removeprefix("sqlite:///"), file)


def _part(server: object, name: str) -> None:
    server.execute(  # type: ignore[attr-defined]  # the fixture's own server
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
