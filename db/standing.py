"""Whom not to believe although the signature is good: disabled clients, revoked tokens, tokens of an earlier time.

What changes it takes the connection of `Ledger.change`, like everything in db/clients.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, insert, select, update

from db.engine import reading
from db.registers import client, revoked_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One reading; `not_before_s` are seconds since 1970, and tokens of that client from before them are void."""

    disabled: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    not_before_s: Mapping[str, int] = field(default_factory=dict)


def read(engine: Engine, now_us: int) -> Standing:
    """Read whom not to believe; of revoked tokens those that could still be alive.

    Raises:
        StorageUnavailable: the database failed; nothing is known anew.
    """
    disabled = select(client.c.client_id).where(client.c.disabled_at_us.is_not(None))
    not_before = select(client.c.client_id, client.c.not_before_us).where(client.c.not_before_us.is_not(None))
    revoked = select(revoked_token.c.jti).where(revoked_token.c.expires_at_us > now_us)
    with reading(engine) as connection:
        return Standing(
            disabled=frozenset(connection.scalars(disabled)),
            revoked=frozenset(connection.scalars(revoked)),
            not_before_s={
                row.client_id: row.not_before_us // 1_000_000 for row in connection.execute(not_before)
            },
        )


def is_revoked(engine: Engine, jti: str) -> bool:
    """Say whether a token was revoked, however long ago."""
    with reading(engine) as connection:
        return connection.scalar(select(revoked_token.c.jti).where(revoked_token.c.jti == jti)) is not None


def revoke(connection: Connection, jti: str, client_id: str, expires_at_us: int, now_us: int) -> None:
    """Refuse one token from now on; a second time changes nothing."""
    known = select(revoked_token.c.jti).where(revoked_token.c.jti == jti)
    if connection.scalar(known) is None:
        values = {"jti": jti, "client_id": client_id, "expires_at_us": expires_at_us, "revoked_at_us": now_us}
        connection.execute(insert(revoked_token).values(values))


def revoke_all(connection: Connection, client_id: str, now_us: int) -> bool:
    """Refuse every token a client got so far; False if there is no such client."""
    of_client = update(client).where(client.c.client_id == client_id)
    return connection.execute(of_client.values(not_before_us=now_us)).rowcount == 1
