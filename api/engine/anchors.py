"""What outside of the database agrees with it: the anchor file and the witnesses, what each knows, and since when.

The engine says it, because only it surely reaches the anchor's disk. It reads stored tiles, as a start does; whether
the records behind them are what they were is for a verification to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from api import times
from api.anchoring import AnchorFile, AnchorRefused, anchor_of
from api.settings import Settings
from api.witnesses import WitnessAt
from db import cosignatures, heads
from db.engine import file_of, reading
from db.epochs import open_any
from db.notes import NoteRefused, VerifierKey

_NOTHING = "nothing was anchored yet: the first checkpoint follows a second after the first record"


class Anchors:
    """Reads them anew each time; `asked` says what the engine last heard of each witness, by name."""

    def __init__(self, settings: Settings, reader: Any, asked: Callable[[], Mapping[str, str]]) -> None:
        self._settings, self._reader, self._asked = settings, reader, asked

    def key(self) -> VerifierKey:
        """Return the key that callers have pinned; it is the same in every epoch."""
        return VerifierKey.parse((self._settings.var / "ledger.pub").read_text().strip())

    async def read(self) -> dict[str, Any]:
        """Hold each against the ledger of now.

        Raises:
            StorageUnavailable: the database cannot be read.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> dict[str, Any]:
        key, head = self.key(), heads.read(self._reader)
        said = self._asked()
        return {
            "size": head.size,
            "anchor": self._anchor(key, head.epoch),
            "witnesses": [self._witness(key, each, said) for each in self._settings.witnesses],
        }

    def _anchor(self, key: VerifierKey, epoch: int) -> dict[str, Any]:
        anchor = anchor_of(self._settings)
        found: dict[str, Any] = {
            "file": anchor.path.name,
            "agrees": False,
        }  # where it lies, the operator knows
        found |= _same_disk(file_of(self._reader), anchor.path)
        try:
            note = anchor.last()
            if note is None:
                return found | {"detail": _NOTHING}
            found |= _newest(anchor, note, key)
            anchor.check(self._reader, key, epoch)
        except AnchorRefused as refused:
            return found | {"detail": f"{refused.reason}; {refused.cure}"}
        return found | {"agrees": True}

    def _witness(self, log: VerifierKey, at: WitnessAt, asked: Mapping[str, str]) -> dict[str, Any]:
        key = VerifierKey.parse(at.key)
        said = asked.get(key.name, "was not asked yet")
        found: dict[str, Any] = {"name": key.name, "key": cosignatures.name_of(key), "url": at.url}
        found |= {"agrees": True} if said == "ok" else {"agrees": False, "detail": said}
        with reading(self._reader) as connection:
            note = cosignatures.newest_of(connection, key)
        try:
            _, signed = open_any(note, log, [key])
        except NoteRefused:  # empty, where it has cosigned nothing; one that is false is found by verify
            return found
        for _, at_s in signed.seen_at_s:
            found |= {"size": signed.checkpoint.size, "at": times.text(at_s * 1_000_000)}
        return found


def _newest(anchor: AnchorFile, note: bytes, key: VerifierKey) -> dict[str, Any]:
    """Say of how many records the newest anchor is, and when the file got it."""
    at_us = anchor.path.stat().st_mtime_ns // 1000
    try:
        _, signed = open_any(note, key)
    except NoteRefused:
        return {"at": times.text(at_us)}
    return {"size": signed.checkpoint.size, "at": times.text(at_us)}


def _same_disk(database: Path | None, anchor: Path) -> dict[str, bool]:
    """Say whether the anchor goes where the database goes, as far as that can be known."""
    if database is None or not anchor.parent.exists() or not database.parent.exists():
        return {}
    return {"same_disk": anchor.parent.stat().st_dev == database.parent.stat().st_dev}
