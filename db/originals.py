"""The original of a replay: a recorded prediction with its exact bytes, held against its leaf before it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Select, select

from db.auditing import Cause
from db.auditing_rows import check, raw
from db.engine import reading
from db.erased import RecordErased, erasures_of
from db.lookups import RecordNotFound
from db.records import Kind, read_leaf
from db.registers import version
from db.tables import payload, record


class NoPrediction(Exception):
    """The record is of another kind: there is nothing in it to answer again."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(f"it is the record of a {kind.name.lower()}; only predictions are replayed")


class RecordChanged(Exception):
    """What is stored is not what was recorded; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What a replay needs of a record. The digest is the leaf's: a column would be believed for nothing.

    `manifest` is the registered digest of the version's manifest, which verify holds against the registration's
    record; None where none is registered, and the pickle's digest alone has to do.
    """

    id: UUID
    idx: int
    model: str
    version: str
    digest: bytes
    manifest: str | None
    status: int
    input: bytes
    output: bytes
    meta: bytes


def read(engine: Engine, record_id: UUID) -> Original:
    """Return a recorded prediction whose bytes are those that its leaf commits to.

    Raises:
        RecordNotFound: there is no such record.
        RecordErased: what went in or what came out is gone.
        NoPrediction, RecordChanged: it cannot be answered again.
        StorageUnavailable: the database cannot be read.
    """
    query = select(record, payload).outerjoin(payload, payload.c.record_id == record.c.id)
    with reading(engine) as connection:
        row = connection.execute(query.where(record.c.id == record_id)).one_or_none()
        manifest = None if row is None else connection.scalar(_manifest_of(row))
        erasures = () if row is None else erasures_of(connection, row.idx)
    if row is None:
        raise RecordNotFound(str(record_id))
    if row.kind != Kind.PREDICTION:
        raise NoPrediction(Kind(row.kind))
    gone = {name for each in erasures for name in each.fields}
    if gone & {"input", "output"}:
        raise RecordErased(record_id, erasures)
    # Rows of lookups are an index beside the record; whether they are right is for verify to say.
    for cause, detail in check(row, (), gone):
        if cause is not Cause.PREDICTION:
            raise RecordChanged(detail)
    digest = read_leaf(raw(row.leaf)).digest
    if digest is None:
        raise RecordChanged("its leaf names no artefact")
    return Original(
        id=record_id,
        idx=row.idx,
        model=row.model,
        version=row.version,
        digest=digest,
        manifest=manifest,
        status=row.status,
        input=row.input,
        output=row.output,
        meta=b"{}" if "meta" in gone else row.meta,
    )


def _manifest_of(row: Any) -> Select[Any]:
    return select(version.c.manifest).where(version.c.model == row.model, version.c.version == row.version)
