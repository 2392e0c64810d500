"""Epochs: what a ledger is called after a restored backup was declared, so that nobody takes two histories for one.

Pure. Epoch 0 has the ledger's own name; epoch N signs as `<origin>#N`, with the same key. A name with a # is legal in
signed notes (no spaces, no plus) and in the quoted strings of RFC 9651.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from db.notes import NoteRefused, SignedCheckpoint, VerifierKey, open_checkpoint
from db.submissions import stated

MAX_EPOCH = 2**31 - 1
_SUFFIX = re.compile(r"#([1-9][0-9]{0,9})")


def name_of(origin: str, epoch: int) -> str:
    """Name the origin that checkpoints of this epoch have."""
    return f"{origin}#{epoch}" if epoch else origin


def key_of(key: VerifierKey, epoch: int) -> VerifierKey:
    """Give the pinned key the name that it signs as in this epoch."""
    return replace(key, name=name_of(key.name, epoch))


def epoch_of(origin: str, key: VerifierKey) -> int:
    """Say of which epoch of the pinned ledger an origin is; NoteRefused where it is of another ledger."""
    if origin == key.name:
        return 0
    match = _SUFFIX.fullmatch(origin.removeprefix(key.name)) if origin.startswith(key.name) else None
    if match is None or int(match[1]) > MAX_EPOCH:
        raise NoteRefused(f"{origin} is neither {key.name} nor an epoch of it")
    return int(match[1])


def open_any(
    note: bytes, key: VerifierKey, witnesses: Sequence[VerifierKey] = ()
) -> tuple[int, SignedCheckpoint]:
    """Open a checkpoint of any epoch of the pinned ledger, and say of which."""
    epoch = epoch_of(stated(note).origin, key)
    return epoch, open_checkpoint(note, key_of(key, epoch), witnesses)
