"""What is registered: versions and aliases as the database has them, kept in memory.

Reads only. Changes made on this host are read at once; those of other hosts within a few seconds, or as soon
as somebody asks for a version that is not known here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from db import versions
from db.versions import Alias, Registered

CHAMPION = "champion"
MISS_PAUSE_S = 1.0  # names that do not exist must not become a way to keep the database busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One reading of the database: versions by (model, version), and what each (model, alias) means."""

    versions: dict[tuple[str, str], Registered] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)

    def find(self, model: str, version: str | None, alias: str | None) -> Registered | None:
        """Find a version by its name, or by an alias (`champion` unless told)."""
        if version is None:
            meant = self.aliases.get((model, alias or CHAMPION))
            version = None if meant is None else meant.version
        return None if version is None else self.versions.get((model, version))

    def aliases_of(self, model: str, version: str) -> list[str]:
        """Name the aliases that mean this version."""
        return [
            each.alias for each in self.aliases.values() if (each.model, each.version) == (model, version)
        ]


class Roster:
    """The current table; `reader` is a database engine that cannot write."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self._read_at = float("-inf")
        self.table = Table()

    def read(self) -> Table:
        """Read the database; blocks, so not for the event loop."""
        return Table(
            versions={(each.model, each.version): each for each in versions.listing(self.reader)},
            aliases={(each.model, each.alias): each for each in versions.aliases(self.reader)},
        )

    async def refresh(self) -> None:
        """Read the table anew; raises what the database raises and then keeps the old one."""
        loop = asyncio.get_running_loop()
        self._read_at = loop.time()
        self.table = await loop.run_in_executor(None, self.read)

    def is_stale(self) -> bool:
        """Say whether the last reading is old enough for a miss to be worth another one."""
        return asyncio.get_running_loop().time() - self._read_at >= MISS_PAUSE_S
