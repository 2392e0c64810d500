"""The journal of erasures, a file beside the anchor: a restored backup must not bring back what was erased since.

One line of JSON for each erasure: its record, its ground, and which records lost which fields. No personal data is in
it. Lines are only added, durably; one that a crash tore is passed over, and what it was about is written again when the
next erasure is, or at the next start. Whoever can write this file can have records erased by `erase --reapply`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import structlog

from api.keys import sync_folder
from api.settings import Settings
from db import restoring
from db.engine import StorageUnavailable
from db.restoring import Journaled

log = structlog.get_logger()


class ErasuresUndone(Exception):
    """The database has what was erased from a later state of it."""

    def __init__(self, path: Path, count: int) -> None:
        super().__init__(
            f"{path} knows of {count} erasures that this database does not: it was restored from a backup; "
            "run: python -m api erase --reapply"
        )


class Journal:
    """Appended to by whoever holds the pen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: set[UUID] | None = None
        self._looked = -1

    def keep(self, reader: Any) -> None:
        """Write down, durably, every erasure of the database that is not in the file yet.

        Raises:
            OSError, StorageUnavailable: not all are kept; the next call makes up for it.
        """
        if self._known is None:
            self._known = {each.erasure for each in self.read()}
        for place, each in restoring.erasures(reader, self._known, self._looked):
            self._append(each)
            self._known.add(each.erasure)
            self._looked = place

    def read(self) -> Iterator[Journaled]:
        """Read every whole line; nothing where nothing was ever erased."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                try:
                    said = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue  # torn
                fields = {UUID(id_): int(bits) for bits, ids in said["records"].items() for id_ in ids}
                yield Journaled(erasure=UUID(said["erasure"]), ground=said["ground"], fields=fields)

    def undone(self, reader: Any) -> Iterator[tuple[Journaled, int, list[UUID]]]:
        """Walk the erasures that did not happen to this database: which, what fields, and of which records."""
        for each in self.read():
            for bits, ids in restoring.undone(reader, each):
                yield each, bits, ids

    def check(self, reader: Any) -> None:
        """Raise ErasuresUndone where something is there that was erased."""
        if count := len({each.erasure for each, _, _ in self.undone(reader)}):
            raise ErasuresUndone(self.path, count)

    def keep_if_possible(self, reader: Any) -> None:
        """Write what is missing; what cannot be is on record, and written the next time or at the next start."""
        try:
            self.keep(reader)
        except (OSError, StorageUnavailable) as failed:
            log.error("erasure-not-journaled-yet", reason=str(failed))  # noqa: TRY400  # the reason is all there is to know

    def _append(self, each: Journaled) -> None:
        records: dict[str, list[str]] = {}
        for id_, bits in each.fields.items():
            records.setdefault(str(bits), []).append(str(id_))
        line = orjson.dumps({"erasure": str(each.erasure), "ground": each.ground, "records": records}) + b"\n"
        is_new = not self.path.exists()
        with self.path.open("ab") as file:
            # Behind a line that was torn a new one begins; an empty line more is passed over like it.
            file.write(line if is_new else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)


def journal_of(settings: Settings) -> Journal:
    """Open the journal of this deployment: `<anchor>.erasures`."""
    return Journal(settings.anchor.with_name(settings.anchor.name + ".erasures"))
