"""A verification put together: what is believed because it does not come out of the database, and the audit against it.

For the command that verifies, and for the process of the engine that does (api/engine/verifier.py): both find the same,
and say it with the same exit codes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.refusals import REFUSED, CommandRefused

if TYPE_CHECKING:
    from api.commands.witnessed import Asked
    from api.resuming import StateFile
    from api.settings import Settings
    from db.audit import Progress
    from db.auditing import Anchor, Verdict
    from db.notes import VerifierKey

VERIFIED, TAMPERED, UNREADABLE, NOT_ANCHORED, INTERRUPTED = 0, 1, REFUSED, 3, 130
MOST_FINDINGS, MOST_LETTERS = 100, 1000  # of a verification's record
_DEADLINE_S = (
    600.0  # for one statement: counting ten million rows takes a while, and nobody waits for an answer
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What is believed because it does not come out of the database."""

    key: VerifierKey
    mac_key: bytes | None
    anchors: list[Anchor]
    witnesses: list[VerifierKey]
    asked: list[Asked]


def outside(
    settings: Settings,
    *,
    key: Path | None = None,
    anchors: tuple[Path, ...] = (),
    witnesses: tuple[str, ...] = (),
) -> Outside:
    """Read the pinned key and the anchors, and ask the witnesses; what is not given, the settings name.

    Raises:
        CommandRefused, StorageUnavailable, SchemaMismatch: naming what cannot be read.
    """
    from api.commands import witnessed

    pinned = _key(key or settings.var / "ledger.pub")
    read = list(map(witnessed.read, witnesses or map(str, settings.witnesses)))
    asked = list(witnessed.ask((at for _, at in read if at), _every_epoch(settings, pinned))) if read else []
    shown = [each.anchor for each in asked if each.anchor is not None]
    return Outside(
        key=pinned,
        mac_key=_mac_key(settings),
        anchors=_anchors(settings, anchors) + shown,
        witnesses=[witness for witness, _ in read],
        asked=asked,
    )


def audited(url: str, known: Outside, processes: int, state: StateFile, progress: Progress) -> Verdict:
    """Audit the ledger behind this address.

    Raises:
        StorageUnavailable, SchemaMismatch: it cannot be read; nothing was found out.
    """
    from db import migrate
    from db.audit import How, audit
    from db.engine import open_reader

    migrate.check(url)
    reader = open_reader(url, _DEADLINE_S)
    try:
        return audit(
            reader,
            known.key,
            known.anchors,
            witnesses=known.witnesses,
            mac_key=known.mac_key,
            how=How(processes=processes, progress=progress, since=state.reached, keep=state.keep),
        )
    finally:
        reader.dispose()


def state_file(path: Path | None, known: Outside) -> StateFile:
    """Open the file in which an audit says how far it came; without a path, none is kept."""
    from api.resuming import StateFile

    return StateFile(path, known.key, known.mac_key)


def last_sound(settings: Settings, known: Outside, *, is_believed: bool) -> StateFile:
    """Open the file of how far the last verification from afar came that found nothing wrong.

    If it is not to be believed, or cannot be because it was changed or is of another ledger, everything is new.
    """
    from api.resuming import StateFile

    path = settings.var / "verification.reached"
    if is_believed and known.mac_key is not None:
        with suppress(CommandRefused):
            return StateFile(path, known.key, known.mac_key, at_end=True)
    return StateFile(path, known.key, known.mac_key, anew=True, at_end=True)


def exit_code(verdict: Verdict) -> int:
    """Turn what was seen into the command's answer; an empty ledger has nothing that could be anchored."""
    if verdict.findings:
        return TAMPERED
    return VERIFIED if verdict.anchored else NOT_ANCHORED


def told(verdict: Verdict, known: Outside) -> dict[str, Any]:
    """Say what was found as the record of a verification keeps it: a bounded part of it."""
    return {
        "exit_code": exit_code(verdict),
        "key": verdict.key_id,
        "size": verdict.size,
        "checked": verdict.records,
        "since": verdict.since,
        "root": verdict.root.hex(),
        "anchored": verdict.anchored,
        "found": verdict.found,
        "findings": [_finding(each.at, each.cause, each.detail) for each in verdict.findings[:MOST_FINDINGS]],
        "anchors": [{"source": source, "checkpoints": count} for source, count in verdict.anchors.items()],
        "witnesses": [{"witness": each.name, "said": each.said} for each in known.asked],
    }


def _finding(at: int | None, cause: str, detail: str) -> dict[str, Any]:
    place = {} if at is None else {"at": at}
    # Whatever stood in the database is quoted there, also what is no text that JSON can hold.
    quoted = detail[:MOST_LETTERS].encode(errors="replace").decode()
    return place | {"cause": str(cause), "detail": quoted}


def _every_epoch(settings: Settings, pinned: VerifierKey) -> list[VerifierKey]:
    """Name the ledger as witnesses know it, in each epoch so far and the next: it may have been rolled back."""
    from db import epochs, heads, migrate
    from db.engine import open_reader

    migrate.check(settings.database_url)
    reader = open_reader(settings.database_url)
    try:
        return [epochs.key_of(pinned, epoch) for epoch in range(heads.read(reader).epoch + 2)]
    finally:
        reader.dispose()


def _key(path: Path) -> VerifierKey:
    from db.notes import NoteRefused, VerifierKey

    try:
        return VerifierKey.parse(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as refused:
        raise CommandRefused(
            f"--key {path} cannot be read ({refused}); run: python -m api setup"
        ) from refused
    except NoteRefused as refused:
        raise CommandRefused(f"--key {path} is no public key of a ledger: {refused}") from refused


def _anchors(settings: Settings, given: tuple[Path, ...]) -> list[Anchor]:
    from api.anchoring import read_anchor
    from db.auditing import Anchor

    files = given or tuple(path for path in (settings.anchor,) if path.exists())
    try:
        return [Anchor(source=str(path), note=note) for path in files for note in read_anchor(path)]
    except OSError as refused:
        raise CommandRefused(f"an anchor cannot be read: {refused}") from refused


def _mac_key(settings: Settings) -> bytes | None:
    """Take the key of the head's mac where it may be read; an auditor from outside has no business with it."""
    from api import keys

    try:
        return keys.read_mac_key(settings.var)
    except keys.KeyRefused:
        return None
