"""The ledger as an auditor sees it: its newest checkpoint, who cosigned it and when, and whether it only grew."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from api import times
from api.console.tables import Column, Table, shown
from api.console.verifying import ago, headline, is_good, latest
from api.pages import session
from api.pages.calling import ApiRefused, Question, ask, read
from db.notes import Checkpoint, NoteRefused
from db.tree import ProofRefused, verify_consistency

ledger_pages = Blueprint("ledger", __name__, url_prefix="/console/ledger")
_SIGNED = re.compile(r"— (\S+) (\S+)")
_KEY_HASH_BYTES, _TIME_BYTES, _ED25519_BYTES = 4, 8, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What became of the question whether the ledger begins with what somebody kept."""

    is_good: bool
    said: str


@ledger_pages.get("")
def ledger() -> str | Response:
    """Show the newest checkpoint and what the engine says of itself; compare with one that was kept elsewhere."""
    note = _checkpoint()
    head = None if note is None else Checkpoint.parse(note.partition("\n\n")[0].encode() + b"\n")
    outside = _outside()
    return shown(
        "console/ledger.html",
        _signatures(note or ""),
        _witnesses(outside),
        note=note,
        head=head,
        root=None if head is None else head.root.hex(),
        state=_state(),
        outside=outside,
        verified=latest(),
        headline=headline,
        is_good=is_good,
        ago=ago,
        kept=request.args.get("kept", ""),
        growth=_growth(request.args["kept"], head) if head and request.args.get("kept", "").strip() else None,
    )


def _checkpoint() -> str | None:
    session.needed()
    try:
        return ask(
            Question(method="GET", path="/v1/ledger/checkpoint", headers={"Accept": "*/*"})
        ).raw.decode()
    except ApiRefused as refused:
        if refused.status == 404:
            return None
        raise


def _state() -> dict[str, Any]:
    """Ask whether it is ready; not being so is an answer, too."""
    try:
        return dict(read("/health/ready"))
    except ApiRefused as refused:
        return dict(refused.content)


def _outside() -> Any:
    """Ask what agrees from outside; None where the engine cannot say."""
    try:
        return read("/v1/ledger/anchors")
    except ApiRefused as refused:
        if refused.status == 503:
            return None
        raise


def _signatures(note: str) -> Table:
    """List the lines under a checkpoint; only a witness states a time."""
    rows = []
    for name, text in _SIGNED.findall(note):
        data = b64decode(text)
        is_cosigned = len(data) == _KEY_HASH_BYTES + _TIME_BYTES + _ED25519_BYTES
        at_s = int.from_bytes(data[_KEY_HASH_BYTES : _KEY_HASH_BYTES + _TIME_BYTES]) if is_cosigned else None
        at = None if at_s is None else times.text(at_s * 1_000_000)
        who = "a witness" if is_cosigned else "the ledger itself"
        rows.append({"name": name, "who": who, "key": data[:_KEY_HASH_BYTES].hex(), "at": at})
    return Table(
        name="signatures",
        title="Who signed the newest checkpoint",
        empty="",
        rows=rows,
        columns=[
            Column(name="name", title="Name"),
            Column(name="who", title="Who"),
            Column(name="key", title="Key", kind="code"),
            Column(name="at", title="Agreed at (UTC)", kind="time"),
        ],
    )


def _witnesses(outside: Any) -> Table:
    """List what is known of the ledger outside of its database, the anchor first."""
    found = [] if outside is None else [outside["anchor"], *outside["witnesses"]]
    rows = [
        {
            "where": each.get("file") or each.get("name"),
            "size": each.get("size"),
            "at": each.get("at"),
            "now": "agrees" if each["agrees"] else each["detail"],
        }
        for each in found
    ]
    return Table(
        name="outside",
        title="What is known of the ledger outside of its database",
        empty="",
        rows=rows,
        columns=[
            Column(name="where", title="Where"),
            Column(name="size", title="Records", kind="number"),
            Column(name="at", title="Last agreed at (UTC)", kind="time"),
            Column(name="now", title="Now"),
        ],
    )


def _growth(kept: str, head: Checkpoint) -> Growth:
    """Hold a checkpoint that the auditor kept against the newest one, by the ledger's own proof, checked here."""
    lines = kept.replace("\r\n", "\n").strip().split("\n")[:3]
    try:
        older = Checkpoint.parse(("\n".join(lines) + "\n").encode())
    except (NoteRefused, ValueError):
        return Growth(
            is_good=False,
            said="This is no checkpoint: paste its first three lines, the name, the size and the root.",
        )
    if older.origin != head.origin:
        return Growth(is_good=False, said=f"It is of another ledger, {older.origin}; this is {head.origin}.")
    if older.size > head.size:
        said = f"It has {older.size} records, this ledger {head.size}: records are missing. Run verify."
        return Growth(is_good=False, said=said)
    try:
        proof = read("/v1/ledger/consistency", **{"from": older.size, "to": head.size})
        verify_consistency(
            older.size, head.size, [b64decode(each) for each in proof["hashes"]], older.root, head.root
        )
    except ProofRefused:
        said = "The ledger does NOT begin with these records: something past was changed. Run verify."
        return Growth(is_good=False, said=said)
    grown = head.size - older.size
    return Growth(is_good=True, said=f"The ledger begins with exactly these records, and grew by {grown}.")
