"""Cosignatures that the ledger keeps, held against the notes they stand under and the witnesses' pinned keys.

What a note says is compared with the records elsewhere (db/auditing_tree.py); here only who else saw it, and when.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from db.auditing import Cause, Findings, Verdict, Witnessed
from db.auditing_rows import raw
from db.cosignatures import name_of
from db.epochs import open_any
from db.notes import NoteRefused, VerifierKey, attach

_PAGE = 1000
_LINES = text(
    "SELECT c.size, c.witness, c.line, n.text FROM cosignature c LEFT JOIN note n ON n.size = c.size"
    " WHERE c.size > :size OR (c.size = :size AND c.witness > :witness) ORDER BY c.size, c.witness LIMIT :limit"
)


def witnessed(
    verdict: Verdict, connection: Connection, key: VerifierKey, pinned: Sequence[VerifierKey]
) -> Verdict:
    """Add to a verdict what each pinned witness is known to have seen; a line that nobody made is a finding."""
    findings = Findings()
    seen = _stored(connection, key, {name_of(witness): witness for witness in pinned}, findings)
    listed = [*verdict.findings, *findings.listed()]
    return replace(
        verdict,
        witnesses=seen,
        anchored=max([verdict.anchored, *(each.size for each in seen if each.name)]),
        findings=tuple(sorted(listed, key=lambda each: (each.at is None, each.at or 0))),
        found=verdict.found + findings.count.total(),
    )


def _stored(
    connection: Connection, key: VerifierKey, known: Mapping[str, VerifierKey], findings: Findings
) -> tuple[Witnessed, ...]:
    found = {name: Witnessed(name=witness.name) for name, witness in known.items()}
    strangers = Witnessed(name="")
    for row in _rows(connection):
        witness = known.get(row.witness)
        wrong, at_s = _check(row, key, witness)
        if wrong:
            detail = f"a cosignature of {row.witness} under note {row.size} {wrong}"
            findings.add(None, Cause.WITNESS, detail)
        elif witness is None:
            strangers = strangers.and_one(row.size, 0)
        else:
            found[row.witness] = found[row.witness].and_one(row.size, at_s)
    return (*found.values(), *([strangers] if strangers.count else []))


def _rows(connection: Connection) -> Iterator[Any]:
    after: dict[str, Any] = {"size": -(2**62), "witness": ""}
    while rows := connection.execute(_LINES, {**after, "limit": _PAGE}).all():
        yield from rows
        after = {"size": rows[-1].size, "witness": rows[-1].witness}


def _check(row: Any, key: VerifierKey, witness: VerifierKey | None) -> tuple[str, int]:
    if row.text is None:
        return "stands under no note", 0
    if _signed_by(raw(row.line)) != row.witness:
        return "is signed by another key", 0
    try:
        note = attach(raw(row.text), [raw(row.line)])
        _, signed = open_any(note, key, [] if witness is None else [witness])
    except NoteRefused as refused:
        return f"is not to be believed: {refused}", 0
    if witness is None:
        return "", 0
    return ("", signed.seen_at_s[0][1]) if signed.seen_at_s else ("is not signed", 0)


def _signed_by(line: bytes) -> str:
    """Name the key that a line says it is of, as the table does."""
    match line.decode(errors="replace").split():
        case [_, name, encoded]:
            with suppress(ValueError):
                return f"{name}+{b64decode(encoded)[:4].hex()}"
    return ""
