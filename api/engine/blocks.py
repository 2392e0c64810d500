"""Blocks are made in the background, one span at a time; performance over a million predictions reads them.

Nobody waits for them: what has no block is read from payloads. Reading a span and storing its blocks take some
hundredths of a second each, of a reader's and the ledger's thread; packing is another process's work, after everybody
else's.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import structlog

from api.engine.child import Child, ChildLate, ChildLost
from api.engine.committing import Committer
from api.settings import bare_environment
from db import blocks, packing
from db.engine import StorageUnavailable
from db.ledger import LedgerUnavailable

LOOK_S, PAUSE_S, TROUBLE_S = 2.0, 0.1, 60.0
_WITHIN_S = 600.0  # on a machine without a moment to spare it gets next to no processor time
_MOST_BYTES = 1 << 30
log = structlog.get_logger()


class Blocks:
    """Makes what is missing, through a reader and the pen."""

    def __init__(self, reader: Any, committer: Committer) -> None:
        self._reader, self._committer = reader, committer
        self._child = Child(
            command=(sys.executable, "-m", "db.packing"),
            environment=bare_environment(),
            most_bytes=_MOST_BYTES,
        )

    async def run(self) -> None:
        """Make blocks for as long as the engine lives."""
        while True:
            try:
                pause = PAUSE_S if await self.make_one() else LOOK_S
            except (StorageUnavailable, LedgerUnavailable, ChildLate, ChildLost, OSError) as failed:
                log.warning("blocks-not-made", reason=f"{type(failed).__name__}: {failed}")
                pause = TROUBLE_S
            await asyncio.sleep(pause)

    async def make_one(self) -> bool:
        """Make the blocks of the first span that has none; False where none is missing."""
        unmade = await asyncio.to_thread(blocks.unmade, self._reader)
        if unmade is None:
            return False
        question = await asyncio.to_thread(packing.asked, unmade.records)
        packed = packing.said(await self._child.ask(question, _WITHIN_S))
        await self._committer.with_pen(
            lambda ledger: ledger.beside(lambda connection: blocks.put(connection, unmade, packed))
        )
        return True
