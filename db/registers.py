"""What stands now, each in one row that changes: clients, their secrets, versions, aliases, and what was noticed.

Rows here are changed and go away; how they came to be is told by the records, whose tables are in db/tables.py.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

from db.types import Idx

metadata = MetaData()

client = Table(
    "client",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),  # sorted, separated by one space, as in RFC 6749 section 3.3
    Column("created_at_us", BigInteger, nullable=False),
    Column("disabled_at_us", BigInteger),
    Column("last_used_at_us", BigInteger),  # on no record
    Column("not_before_us", BigInteger),  # tokens from before it are void
    Column("jwks", Text),  # a set of public keys (RFC 7517), by which it is known without a secret
)

client_secret = Table(
    "client_secret",
    metadata,
    Column("id", Idx, primary_key=True),
    Column("client_id", Text, ForeignKey("client.client_id"), nullable=False, index=True),
    Column("hash", LargeBinary(32), nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger),
)

revoked_token = Table(
    "revoked_token",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False, index=True),
    Column("revoked_at_us", BigInteger, nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("registered_at_us", BigInteger, nullable=False),
    Column("manifest", Text),  # its digest; empty where it was registered before there was one
    Column("twin_off_at_us", BigInteger),  # since when its pickle answers alone
)

alias = Table(
    "alias",
    metadata,
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("previous", Text),
    Column("changed_at_us", BigInteger, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["version.model", "version.version"]),
)

security_event = Table(  # operational, no part of the ledger: bounded, and gone after ONRECORD_EVENTS_DAYS
    "security_event",
    metadata,
    Column("id", Idx, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status", SmallInteger),
    Column("client_id", Text),
    Column("jti", Text),
    Column("claimed_kid", Text),
    Column("address", Text),
    Column("operation", Text),
    Column("target", Text),
    Column("needed", Text),
    Column("held", Text),
    Column("request", Text),
    Column("body_sha256", Text),
    Column("verified_signature", Boolean),
    Column("body_bytes", BigInteger),
    Column("suppressed", BigInteger),
    Index("security_event_by_time", "at_us"),
    Index("security_event_by_kind", "kind", "id"),
    Index("security_event_by_client", "client_id", "id"),
)
