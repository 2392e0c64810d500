"""Witnesses as a setting and a command line name them: where to ask, and the key that was pinned for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from api.readings import URL_PATTERN, EntryRefused, Reading

_MOST = 15  # a note has at most 16 signatures, and the ledger's is one


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAt:
    """A witness and where to ask it; `key` is its verifier key, as its operator has given it to us."""

    url: str
    key: str

    def __str__(self) -> str:
        return f"{self.url}={self.key}"


class Witnesses(tuple[WitnessAt, ...]):
    """Witnesses, written as a setting has them."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(map(str, self))


def witnesses(text: str) -> Witnesses:
    """Read `<url>=<key>` with spaces between, or the name of a file with one of these a line."""
    if text and not text.startswith(("http://", "https://")):
        try:
            text = Path(text).read_text()
        except (OSError, UnicodeDecodeError):
            raise EntryRefused(text) from None
    found = Witnesses(map(witness, text.split()))
    if len(found) > _MOST or len({each.key for each in found}) < len(found):
        raise EntryRefused(text)
    return found


def witness(text: str) -> WitnessAt:
    """Read one `<url>=<key>`; raises EntryRefused where it is not that, or the key is no witness's."""
    from db.notes import COSIGNATURE, NoteRefused, VerifierKey

    url, _, key = text.partition("=")
    try:
        algorithm = VerifierKey.parse(key).algorithm
    except NoteRefused as refused:
        raise EntryRefused(text) from refused
    if algorithm != COSIGNATURE or not re.fullmatch(URL_PATTERN, url):
        raise EntryRefused(text)
    return WitnessAt(url=url, key=key)


WITNESSES = Reading("<url>=<its key> with spaces between (at most 15), or a file with one a line", witnesses)
