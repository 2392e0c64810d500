"""Who may call: client ids, their scopes, and secrets of which only digests are kept.

What changes a client takes the connection of `Ledger.change`, whose lock on `head` lets one change happen at a time.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from db.engine import is_storable, reading
from db.registers import client as client_table
from db.registers import client_secret

SCOPES = frozenset(
    {
        "predict",
        "predictions:read",
        "models:read",
        "models:write",
        "audit:read",
        "audit:erase",
        "outcomes:write",
        "clients:write",
        "introspect",
    }
)
LIVE_SECRETS = 2  # the one in use and the one being rolled out
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_NOBODY = bytes(32)  # compared with when there is no such client; no secret has this digest


class BadClient(ValueError):
    """A name or a scope that no client may have."""


class ClientNotFound(LookupError):
    """No client has this id."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"there is no client {client_id!r}")
        self.client_id = client_id


class KeysMoved(Exception):
    """A client's keys are no longer what was seen."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"the keys of {client_id} were changed meanwhile; read them again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One program that calls, and what it may do."""

    client_id: str
    name: str
    scope: frozenset[str]
    created_at_us: int
    disabled_at_us: int | None = None
    not_before_us: int | None = None
    jwks: str | None = None  # as `jwks_text` writes it
    last_used_at_us: int | None = None  # as far as doors told


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """When a secret was given out, and from when on it is none; of itself only a digest is kept."""

    created_at_us: int
    expires_at_us: int | None = None


def new(name: str, scope: frozenset[str], now_us: int) -> Client:
    """Make a client whose id is its name, made fit for a URL, and 50 random bits.

    Raises:
        BadClient: the name is not 1 to 64 plain characters, or the scope is empty or holds an unknown word.
    """
    if not _NAME.fullmatch(name):
        raise BadClient("a name is 1 to 64 letters, digits, spaces, dots, underscores and hyphens")
    unknown = scope - SCOPES
    if unknown or not scope:
        raise BadClient(f"unknown scope {sorted(unknown)}; choose from {' '.join(sorted(SCOPES))}")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    random = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    return Client(client_id=f"{slug}-{random}", name=name, scope=scope, created_at_us=now_us)


def new_secret() -> str:
    """Make 256 random bits; whoever asked for them is the only one who ever sees them."""
    return secrets.token_urlsafe(32)


def jwks_text(jwks: Any) -> str | None:
    """Write a set of public keys as it is stored, None for an empty one."""
    return orjson.dumps(jwks, option=orjson.OPT_SORT_KEYS).decode() if jwks["keys"] else None


def add(connection: Connection, client: Client, secret: str | None) -> None:
    """Store a new client and its first secret, if it has one."""
    connection.execute(
        insert(client_table).values(
            client_id=client.client_id,
            name=client.name,
            scope=" ".join(sorted(client.scope)),
            created_at_us=client.created_at_us,
            jwks=client.jwks,
        )
    )
    if secret is not None:
        _add_secret(connection, client.client_id, secret, client.created_at_us)


def put_keys(connection: Connection, client_id: str, jwks: str | None) -> None:
    """Let a client be known by these public keys, and by none it had before. Raises ClientNotFound."""
    _find(connection, client_id)
    connection.execute(update(client_table).where(client_table.c.client_id == client_id).values(jwks=jwks))


def expect_keys(connection: Connection, client_id: str, seen: str | None) -> None:
    """Make sure that a client's keys are what whoever changes them has seen; raises KeysMoved."""
    query = select(client_table.c.jwks).where(client_table.c.client_id == client_id)
    if connection.scalar(query) != seen:
        raise KeysMoved(client_id)


def disable(connection: Connection, client_id: str, now_us: int) -> None:
    """Refuse this client from now on; the first date stays when it is disabled again. Raises ClientNotFound."""
    _find(connection, client_id)
    connection.execute(
        update(client_table)
        .where(client_table.c.client_id == client_id, client_table.c.disabled_at_us.is_(None))
        .values(disabled_at_us=now_us)
    )


def rotate(
    connection: Connection, client_id: str, secret: str, now_us: int, old_until_us: int | None = None
) -> None:
    """Add a secret and forget all but the newest two, so that callers can change over. Raises ClientNotFound.

    The one that was the newest works until `old_until_us`, or until the next rotation.
    """
    _find(connection, client_id)
    if old_until_us is not None:
        connection.execute(
            update(client_secret)
            .where(client_secret.c.client_id == client_id, client_secret.c.expires_at_us.is_(None))
            .values(expires_at_us=old_until_us)
        )
    _add_secret(connection, client_id, secret, now_us)
    mine = client_secret.c.client_id == client_id
    live = select(client_secret.c.id).where(mine).order_by(client_secret.c.id.desc()).limit(LIVE_SECRETS)
    connection.execute(delete(client_secret).where(mine, client_secret.c.id.not_in(live)))


def used(connection: Connection, seen: Mapping[str, int]) -> None:
    """Keep when clients were seen, where that is later than what is kept; in one order, or two engines could wait."""
    c = client_table.c
    for client_id, at_us in sorted(seen.items()):
        is_later = c.last_used_at_us.is_(None) | (c.last_used_at_us < at_us)
        later = update(client_table).where(c.client_id == client_id, is_later)
        connection.execute(later.values(last_used_at_us=at_us))


def listing(engine: Engine) -> list[Client]:
    """Return every client, disabled ones too, oldest first."""
    query = select(client_table).order_by(client_table.c.created_at_us, client_table.c.client_id)
    with reading(engine) as connection:
        return [_client(row) for row in connection.execute(query)]


def read(engine: Engine, client_id: str) -> Client | None:
    """Return one client, None where there is none of this id."""
    with reading(engine) as connection:
        row = connection.execute(
            select(client_table).where(client_table.c.client_id == client_id)
        ).one_or_none()
    return None if row is None else _client(row)


def live_secrets(engine: Engine, client_id: str, now_us: int) -> list[Secret]:
    """Say when the secrets that work were given out, and until when they work; oldest first."""
    query = select(client_secret).where(client_secret.c.client_id == client_id).order_by(client_secret.c.id)
    with reading(engine) as connection:
        found = [
            Secret(created_at_us=row.created_at_us, expires_at_us=row.expires_at_us)
            for row in connection.execute(query)
        ]
    return [each for each in found if each.expires_at_us is None or each.expires_at_us > now_us]


def authenticate(engine: Engine, client_id: str, secret: str, now_us: int) -> Client | None:
    """Return the client whose live secret this is, None for anyone else.

    The work is the same for an unknown client, a disabled one and a wrong secret, so that time tells nothing.
    """
    given = digest(secret)
    if not is_storable(client_id):
        client_id = ""  # nobody's
    who = select(client_table).where(client_table.c.client_id == client_id)
    kept = select(client_secret.c.hash, client_secret.c.expires_at_us).where(
        client_secret.c.client_id == client_id
    )
    with reading(engine) as connection:
        row = connection.execute(who).one_or_none()
        hashes = [
            each.hash if each.expires_at_us is None or each.expires_at_us > now_us else _NOBODY
            for each in connection.execute(kept)
        ]
    hashes += [_NOBODY] * (LIVE_SECRETS - len(hashes))
    matches = [hmac.compare_digest(given, each) for each in hashes]
    if row is None or row.disabled_at_us is not None or not any(matches):
        return None
    return _client(row)


def _find(connection: Connection, client_id: str) -> None:
    query = select(client_table.c.client_id).where(client_table.c.client_id == client_id)
    if connection.execute(query).one_or_none() is None:
        raise ClientNotFound(client_id)


def _add_secret(connection: Connection, client_id: str, secret: str, now_us: int) -> None:
    connection.execute(
        insert(client_secret).values(client_id=client_id, hash=digest(secret), created_at_us=now_us)
    )


def digest(secret: str) -> bytes:
    """Hash once: 256 random bits cannot be guessed, so a slow hash would only slow down ourselves."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _client(row: Row[Any]) -> Client:
    return Client(
        client_id=row.client_id,
        name=row.name,
        scope=frozenset(row.scope.split()),
        created_at_us=row.created_at_us,
        disabled_at_us=row.disabled_at_us,
        not_before_us=row.not_before_us,
        jwks=row.jwks,
        last_used_at_us=row.last_used_at_us,
    )
