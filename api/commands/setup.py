"""Everything a fresh machine needs before `serve`, and nothing that is there already.

Each step looks first; a second run changes nothing. What it makes: the var folder, keys, the database at the
newest migration, the seal of the ledger, every version of the store registered, a champion for each
model, and two clients with their secrets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from api import keys
from api.commands.sealing import seal
from api.commands.submitting import submit
from api.engine import pen
from api.engine.loading import Loading
from api.engine.roster import CHAMPION, Roster, Table
from api.settings import Settings
from db import clients, migrate
from db.engine import open_reader

CLIENTS = {
    "demo": ("predict", "predictions:read", "models:read", "outcomes:write"),
    "admin": tuple(sorted(clients.SCOPES)),
}


def run(settings: Settings) -> Iterator[str]:
    """Do what is missing, and say each thing that was done."""
    yield from _make_folders(settings)
    for path in keys.create(settings.var, settings.token_algorithm):
        yield f"created {path}"
    if (found := migrate.current(settings.database_url)) != migrate.head():
        with pen.held(settings.var, wait_s=1.0):
            migrate.upgrade(settings.database_url)
        yield f"migrated the database from {found or 'nothing'} to {migrate.head()}"
    yield from seal(settings)
    yield from _register(settings)
    for name, scope in CLIENTS.items():
        yield from _add_client(settings, name, " ".join(scope))
    if settings.public_forms and not settings.issuer:  # that issuer's client is its operator's to write
        from api.pages.access import NEEDED, PUBLIC_CLIENT

        yield from _add_client(settings, PUBLIC_CLIENT, " ".join(sorted(NEEDED)))


def _make_folders(settings: Settings) -> Iterator[str]:
    for folder in (settings.var, settings.client_file("demo").parent):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
            yield f"created {folder}"
        elif folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
            yield f"closed {folder} to other users"


def _register(settings: Settings) -> Iterator[str]:
    loading = Loading(settings)
    try:
        yield from _register_all(settings, loading)
    finally:
        loading.rest()


def _register_all(settings: Settings, loading: Loading) -> Iterator[str]:
    store = loading.listing()
    table = _table(settings)
    for model, version in store:
        known = table.versions.get((model, version))
        if known is None or known.manifest is None:
            submit(settings, "model.register", {"model": model, "version": version}, loading)
            yield f"registered version {version} of {model}"
    # The listing ends with the newest version of each model.
    for model, version in dict(store).items():
        if (model, CHAMPION) not in table.aliases:
            promotion = {"model": model, "version": version, "alias": CHAMPION}
            submit(settings, "model.promote", promotion, loading)
            yield f"promoted version {version} of {model} to {CHAMPION}"


def _table(settings: Settings) -> Table:
    reader = open_reader(settings.database_url)
    try:
        return Roster(reader).read()
    finally:
        reader.dispose()


def _add_client(settings: Settings, name: str, scope: str) -> Iterator[str]:
    path = settings.client_file(name)
    if _works(settings, path):
        return
    added = submit(settings, "client.add", {"name": name, "scope": scope})
    path.unlink(missing_ok=True)  # its client is unknown to this database, so it is of no use to anyone
    write_client(path, added)
    yield f"added client {added['client_id']} ({name}), secret in {path}"


def write_client(path: Path, added: dict[str, Any]) -> None:
    """Keep a new client's secret for scripts, mode 0600: as one line of JSON, and as a file for `curl -K`.

    With `-K` the secret stands neither in the shell's history nor in the list of processes.
    """
    kept = {member: added[member] for member in ("client_id", "client_secret", "scope")}
    for_curl = path.with_suffix(".curl")
    for_curl.unlink(missing_ok=True)
    keys.write_private(for_curl, f'user = "{kept["client_id"]}:{kept["client_secret"]}"\n'.encode())
    keys.write_private(path, orjson.dumps(kept) + b"\n")


def _works(settings: Settings, path: Path) -> bool:
    try:
        kept = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return False
    reader = open_reader(settings.database_url)
    try:
        now_us = time.time_ns() // 1000
        return clients.authenticate(reader, kept["client_id"], kept["client_secret"], now_us) is not None
    finally:
        reader.dispose()
