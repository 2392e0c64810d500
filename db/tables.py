"""The columns of the ledger and of what is derived from it, and why each index is worth its place on the hot path.

Tables come to be through migrations only; a test compares the two. `record`, `payload` and `prediction` carry no
foreign keys: the ledger writes them together in one transaction, and verification reads all of them anyway.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)

from db import registers
from db.types import Idx, RecordId

metadata = registers.metadata  # every table there is, of both files


def _partial(name: str, *columns: Any, where: Any) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    # The latest observed_at_us so far and the most any record came behind it: with these two numbers a range of
    # times becomes a range of idx without missing one record, however clocks jump (db/lookups.py).
    Column("latest_us", BigInteger, nullable=False),
    Column("lag_us", BigInteger, nullable=False),
    # What the tree needs to grow, authenticated by a key that is not in the database (db/sealing.py); the origin and
    # the mac are empty until setup seals the head.
    Column("root", LargeBinary(32), nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    Column("origin", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    postgresql_with={"fillfactor": "10"},  # one hot row: room for its next versions on the same page
)

record = Table(
    "record",
    metadata,
    Column("idx", Idx, primary_key=True, autoincrement=False),  # dense from 0, given under the lock on `head`
    Column("id", RecordId, nullable=False, unique=True),
    Column("kind", SmallInteger, nullable=False),
    Column("observed_at_us", BigInteger, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("model", Text),
    Column("version", Text),
    Column("digest", LargeBinary(32)),
    Column("status", SmallInteger, nullable=False),
    Column("leaf", LargeBinary(220), nullable=False),  # the bytes that the tree hashes (db/records.py)
    Index("record_by_time", "observed_at_us"),  # from/to: one seek each; grows at its right edge: nearly free
    _partial("record_of_verification", "idx", where=text("kind = 14")),  # few among very many
)

payload = Table(
    "payload",
    metadata,
    Column("record_id", RecordId, primary_key=True),
    Column("input", LargeBinary, nullable=False),
    Column("output", LargeBinary, nullable=False),
    Column("actor", LargeBinary, nullable=False),
    Column("meta", LargeBinary, nullable=False),
    # Opens the leaf's commitments; where a field was erased, the salts that are left (db/records.py, `kept`). What was
    # erased is empty here; where all was, the row is gone.
    Column("secret", LargeBinary, nullable=False),
)

erased = Table(  # what is gone, and which record of an erasure says so; verification compares the two
    "erased",
    metadata,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("erasure_idx", BigInteger, primary_key=True, autoincrement=False),
    Column("fields", SmallInteger, nullable=False),  # bits (db/records.py, `mask`); none twice for one record
    Index("erased_by_erasure", "erasure_idx", "idx"),
    sqlite_with_rowid=False,
)

hold = Table(  # what must not be erased; derived from the records of holds, exactly one of the four targets is given
    "hold",
    metadata,
    Column("id", RecordId, primary_key=True),  # of the record that began it
    Column("record_id", RecordId),
    Column("reference", LargeBinary),  # a keyed hash (db/holds.py): a hold outlives what it is about
    Column("client_id", Text),
    Column("model", Text),
    Column("reason", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("until_us", BigInteger),
    Column("lifted_at_us", BigInteger),
)

tile = Table(  # the hashes of the tree, 256 at most in a row, so that no proof reads leaves (db/tree.py)
    "tile",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

note = Table(  # signed checkpoints, one a second at most
    "note",
    metadata,
    Column("size", Idx, primary_key=True, autoincrement=False),
    Column("text", LargeBinary, nullable=False),
)

cosignature = Table(  # a witness's line for the note of this size
    "cosignature",
    metadata,
    Column("size", Idx, primary_key=True, autoincrement=False),
    Column("witness", Text, primary_key=True),  # its name and the id of its key
    Column("line", LargeBinary, nullable=False),
)

idempotency = Table(  # which record answered a request that came with a key; rows go when their time is over
    "idempotency",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),  # a keyed hash of client, operation and key
    Column("fingerprint", LargeBinary(32), nullable=False),
    Column("record_idx", BigInteger, nullable=False),
    # How long the ledger was when the record had just been appended: its receipt can be made again, byte for byte.
    Column("size", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False),
    Index("idempotency_by_expiry", "expires_at_us"),
)

prediction = Table(
    "prediction",
    metadata,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("client_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("reference", Text),
    Column("label", Text),
    Column("score", Double),
    Column("observed_at_us", BigInteger, nullable=False),
    Column("outcome_idx", BigInteger),
    sqlite_with_rowid=False,  # the primary key is the table: newest first is one walk, and one B-tree less
)

# Equality columns first, then (idx, position): newest first is then a backward walk of one index. Rows of one
# prefix are added at its right end, which dirties few pages; only scores and references land anywhere.
Index("prediction_by_client", prediction.c.client_id, prediction.c.idx, prediction.c.position)
Index(  # a version that is no longer used lies deep in the past: without this, a walk through everything since
    "prediction_by_version",
    prediction.c.model,
    prediction.c.version,
    prediction.c.client_id,
    prediction.c.idx,
    prediction.c.position,
)
_partial(  # for the rare label, which is the one people look for
    "prediction_by_label",
    prediction.c.label,
    prediction.c.client_id,
    prediction.c.idx,
    prediction.c.position,
    where=prediction.c.label.is_not(None),
)
_partial(  # costs nothing to callers who give no references
    "prediction_by_reference",
    prediction.c.reference,
    prediction.c.client_id,
    prediction.c.idx,
    prediction.c.position,
    where=prediction.c.reference.is_not(None),
)
# For the rare range, or a full walk would answer "none". Every score is another page, which is the dearest thing about
# ten thousand of them: beyond the first rows of a request its scores are in an order of its own, on pages of its own.
LARGE = 1_000  # positions; a search looks at every request that has more of them
_partial(
    "prediction_by_score",
    prediction.c.client_id,
    prediction.c.score,
    prediction.c.idx,
    prediction.c.position,
    where=text(f"position < {LARGE}"),
)
_partial(
    "prediction_in_large",
    prediction.c.client_id,
    prediction.c.idx,
    prediction.c.score,
    prediction.c.position,
    where=text(f"position >= {LARGE}"),
)
_partial(  # one entry for each request that has any in the one before
    "prediction_of_large", prediction.c.client_id, prediction.c.idx, where=text(f"position = {LARGE}")
)
_partial(  # empty until outcomes are reported, free until then
    "prediction_with_outcome",
    prediction.c.client_id,
    prediction.c.idx,
    prediction.c.position,
    where=prediction.c.outcome_idx.is_not(None),
)

# Which record was made from which: a replay from its original, an outcome from its prediction.
derived = Table(
    "derived",
    metadata,
    Column("idx", Idx, primary_key=True, autoincrement=False),
    Column("of_idx", BigInteger, nullable=False),
    Column("position", Integer),  # of the prediction within its record; none for a replay of all of it
    Index("derived_of", "of_idx", "position", "idx"),
)

outcome = Table(  # what is known to have happened: the newest record of it for each prediction
    "outcome",
    metadata,
    Column("prediction_idx", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("outcome_idx", BigInteger, nullable=False),  # the record that says so
    # A label as the model answers it, or a number; both are gone where that record was erased.
    Column("value", Text),
    Column("number", Double),
    # When it was seen; where nobody said, when it was reported.
    Column("observed_at_us", BigInteger, nullable=False),
    Column("reported_at_us", BigInteger, nullable=False),
    Index("outcome_by_record", "outcome_idx"),
    sqlite_with_rowid=False,
)

block = Table(  # what was predicted, by columns (db/blocks.py); derived, made again where erasures delete it
    "block",
    metadata,
    Column("model", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Text, primary_key=True),
    Column("stop", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("block_by_start", "start"),  # an erasure looks for the one that it touches
)
