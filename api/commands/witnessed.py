"""What witnesses know, for the command that verifies: their pinned keys, and what they show right now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api import times
from api.readings import EntryRefused
from api.refusals import CommandRefused
from api.witnesses import WitnessAt, witness

if TYPE_CHECKING:
    import httpx

    from db.auditing import Anchor
    from db.notes import VerifierKey

ASK_S = 10.0
MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one witness showed of one ledger: a checkpoint, or why there is none."""

    name: str
    anchor: Anchor | None
    said: str


def read(given: str) -> tuple[VerifierKey, WitnessAt | None]:
    """Read `<url>=<key>`, or a key alone: of that witness only what is stored can be checked."""
    from db.notes import COSIGNATURE, NoteRefused, VerifierKey

    try:
        at = witness(given) if given.startswith(("http://", "https://")) else None
        key = VerifierKey.parse(at.key if at else given)
    except (EntryRefused, NoteRefused) as refused:
        raise CommandRefused(f"--witness {given} is neither a witness's key nor <url>=<key>") from refused
    if key.algorithm != COSIGNATURE:
        raise CommandRefused(f"--witness {given} is a ledger's key; a witness's is of type 4")
    return key, at


def ask(witnesses: Iterable[WitnessAt], logs: Iterable[VerifierKey]) -> Iterator[Asked]:
    """Ask each for the newest checkpoint that it has cosigned of each of these origins."""
    import httpx

    origins = list(logs)
    with httpx.Client(trust_env=False, timeout=ASK_S) as client:
        for at in witnesses:
            for log in origins:
                yield _asked(client, at, log)


def _asked(client: httpx.Client, at: WitnessAt, log: VerifierKey) -> Asked:
    import httpx

    from db.auditing import Anchor
    from db.notes import NoteRefused, VerifierKey, open_checkpoint

    key = VerifierKey.parse(at.key)
    try:
        status, content = _got(client, f"{at.url}/checkpoint", log.name)
        if status == 404:
            return Asked(name=key.name, anchor=None, said=f"has cosigned nothing of {log.name}")
        opened = open_checkpoint(content, log, [key])
    except (httpx.HTTPError, httpx.InvalidURL) as failed:
        return Asked(name=key.name, anchor=None, said=f"could not be asked ({type(failed).__name__})")
    except NoteRefused as refused:
        return Asked(name=key.name, anchor=None, said=f"shows nothing that can be believed: {refused}")
    if not opened.seen_at_s:
        return Asked(name=key.name, anchor=None, said="shows a checkpoint that its pinned key has not signed")
    ((_, at_s),) = opened.seen_at_s
    said = f"saw {opened.checkpoint.size} records of {log.name} at {times.text(at_s * 1_000_000)}"
    return Asked(name=key.name, anchor=Anchor(source=f"witness {key.name}", note=content), said=said)


def _got(client: httpx.Client, url: str, origin: str) -> tuple[int, bytes]:
    with client.stream("GET", url, params={"origin": origin}) as answer:
        content = bytearray()
        for piece in answer.iter_raw():
            content += piece
            if len(content) > MOST_BYTES:
                break  # what is cut off is not a checkpoint, and is refused as none
        return answer.status_code, bytes(content)
