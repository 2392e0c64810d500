"""What witnesses have put under notes: kept one line each, and handed out with the note they belong to."""

from __future__ import annotations

from sqlalchemy import Connection, Select, delete, insert, select

from db.notes import MAX_SIGNATURES, VerifierKey, attach
from db.tables import cosignature, note


def put(connection: Connection, size: int, line: bytes, witness: VerifierKey) -> None:
    """Keep a witness's line for the note of this size; a later one of the same witness replaces it."""
    name = name_of(witness)
    connection.execute(delete(cosignature).where(cosignature.c.size == size, cosignature.c.witness == name))
    connection.execute(insert(cosignature).values(size=size, witness=name, line=line))


def name_of(witness: VerifierKey) -> str:
    """Name a witness's key, as the table does: of one name there may be several."""
    return f"{witness.name}+{witness.id.hex()}"


def newest(connection: Connection) -> bytes:
    """Return the newest note with its cosignatures, if it has any; empty where there is no note."""
    return _signed(connection, select(note.c.size, note.c.text))


def covering(connection: Connection, index: int) -> bytes:
    """Return the note that proves most about a record: the newest cosigned one that covers it, or the newest."""
    both = note.join(cosignature, cosignature.c.size == note.c.size)
    cosigned = select(note.c.size, note.c.text).select_from(both).where(cosignature.c.size > index)
    return _signed(connection, cosigned) or newest(connection)


def newest_of(connection: Connection, witness: VerifierKey) -> bytes:
    """Return the newest note that has a line of this witness, with that line alone; empty where none has."""
    both = note.join(cosignature, cosignature.c.size == note.c.size)
    theirs = select(note.c.text, cosignature.c.line).select_from(both)
    newest_first = theirs.where(cosignature.c.witness == name_of(witness)).order_by(cosignature.c.size.desc())
    found = connection.execute(newest_first.limit(1)).one_or_none()
    return b"" if found is None else attach(bytes(found.text), [bytes(found.line)])


def _signed(connection: Connection, notes: Select[tuple[int, bytes]]) -> bytes:
    found = connection.execute(notes.order_by(note.c.size.desc()).limit(1)).one_or_none()
    if found is None:
        return b""
    lines = select(cosignature.c.line).where(cosignature.c.size == found.size)
    signed = connection.scalars(lines.order_by(cosignature.c.witness).limit(MAX_SIGNATURES - 1))
    return attach(bytes(found.text), map(bytes, signed))
