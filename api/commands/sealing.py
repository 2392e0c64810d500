"""The seal of a new ledger: keys, an origin, and the head signed for the first time."""

from __future__ import annotations

from collections.abc import Iterator

from api.engine import pen, seals
from api.settings import Settings
from db import heads
from db.engine import open_pen, open_reader


def seal(settings: Settings) -> Iterator[str]:
    """Seal the head that migrations left, and say so; a sealed one only gets its public key back if that is lost.

    A database that begins anew begins under a new origin, even with the old keys: under the old one it would say that
    the old ledger never was.

    Raises:
        KeyRefused: the head is sealed with keys that are not here.
    """
    if origin := _origin(settings):
        if not seals.public_path(settings.var).exists():
            yield f"created {_republish(settings, origin)}"
        return
    with pen.held(settings.var, wait_s=1.0):
        for path in seals.create(settings.var):
            yield f"created {path}"
        made = seals.of(settings.var, seals.new_origin())
        writer = open_pen(settings.database_url)
        try:
            heads.seal_unsealed(writer, made)
        finally:
            writer.dispose()
        yield f"sealed the ledger {made.origin}; pin its key: {seals.publish(settings.var, made)}"


def _origin(settings: Settings) -> str:
    reader = open_reader(settings.database_url)
    try:
        return heads.read(reader).origin
    finally:
        reader.dispose()


def _republish(settings: Settings, origin: str) -> str:
    found = seals.of(settings.var, origin)
    reader = open_reader(settings.database_url)
    try:
        head = heads.read(reader)
        found.begun(head.epoch).open(head)  # the origin is part of the mac: nobody just wrote it there
    finally:
        reader.dispose()
    return str(seals.publish(settings.var, found))
