"""The heartbeat: a record that nothing else was to be recorded, so that a ledger kept from growing cannot look idle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from api.engine.committing import Committer
from db.ledger import LedgerUnavailable
from db.records import Kind, Record, new_id
from db.sealing import LedgerForked

ACTOR = "engine"
log = structlog.get_logger()


async def beat(committer: Committer, every_s: int, clock: Callable[[], int]) -> None:
    """Append a heartbeat whenever nothing else was recorded for so long; never, where `every_s` is 0."""
    while every_s:
        await asyncio.sleep(max(0.1, every_s - committer.quiet_s()))
        if committer.quiet_s() < every_s:
            continue
        try:
            await committer.with_pen(lambda ledger: ledger.append([heartbeat(clock())]))
            await committer.note()
        except (LedgerUnavailable, LedgerForked) as failed:
            log.error("heartbeat-not-recorded", reason=str(failed))  # noqa: TRY400  # the reason is all there is
            await asyncio.sleep(every_s)


def heartbeat(at_us: int) -> Record:
    """Make the record; it says nothing but when."""
    return Record(
        id=new_id(at_us),
        kind=Kind.HEARTBEAT,
        observed_at_us=at_us,
        client_id=ACTOR,
        status=200,
        input=b"{}",
        output=b"{}",
        actor=b'{"client_id":"%s"}' % ACTOR.encode(),
        meta=b"{}",
    )
