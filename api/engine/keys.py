"""Idempotency-Keys at the engine: who sends a request again gets the answer that is on record, or is told to wait.

What is under way here is known in memory; what is on record, in the database. The database has the last word: two
engines of one ledger may both take a request, and the one that comes second to the head finds the key taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from api import receipts, wire
from api.engine import desk
from db import idempotency
from db.engine import StorageUnavailable, reading
from db.ledger import Ledger, LedgerUnavailable
from db.records import RequestKey
from db.sealing import LedgerForked

PURGE_S, PURGED = 60.0, 500  # between two batches the pen is everybody's
_BUSY, _RECORDED = "a request with this key is under way; ask again in a second", "Idempotent-Replayed"
Reply = tuple[dict[str, Any], bytes]
log = structlog.get_logger()


class Keys:
    """Lives on the event loop's thread; requests without a key never come here."""

    def __init__(self, ledger: Ledger, reader: Any, clock: Callable[[], int]) -> None:
        self._ledger, self._reader, self._clock = ledger, reader, clock
        self._inside: dict[bytes, bytes] = {}

    async def claim(self, frame: wire.Frame) -> RequestKey | Reply:
        """Take the key of a request that is new; it is under way until `release`. Otherwise say what to answer."""
        key = self._key(frame.head)
        if key.hash in self._inside:
            return _busy() if self._inside[key.hash] == key.fingerprint else _other()
        self._inside[key.hash] = key.fingerprint
        try:
            stored = await self.stored(key)
        except BaseException:
            self.release(key)
            raise
        if stored is None:
            return key
        self.release(key)
        return stored

    def release(self, key: RequestKey | None) -> None:
        """Let the key go: its request is answered."""
        if key is not None:
            self._inside.pop(key.hash, None)

    async def again(self, key: RequestKey) -> Reply:
        """Say what to answer to a request whose key was taken while it was worked on."""
        return await self.stored(key) or _busy()

    async def stored(self, key: RequestKey) -> Reply | None:
        """Answer from the record of the key, if there is one."""
        try:
            return await asyncio.to_thread(self._find, key)
        except (LedgerForked, StorageUnavailable) as unavailable:
            log.error("key-not-looked-up", reason=str(unavailable))  # noqa: TRY400  # the reason is all there is to know
            return desk.refusal("audit-unavailable", "nothing was recorded; ask again")

    async def purge_for_ever(self, with_pen: Callable[[Callable[[Ledger], int]], Any]) -> None:
        """Forget keys whose time is over, in small batches, for as long as the engine lives."""
        while True:
            await asyncio.sleep(PURGE_S)
            try:
                while await with_pen(self.purge) == PURGED:
                    pass
            except (LedgerForked, LedgerUnavailable) as unavailable:
                log.warning("keys-not-purged", reason=str(unavailable))

    def purge(self, ledger: Ledger) -> int:
        """Forget one batch."""
        return ledger.beside(lambda connection: idempotency.purge(connection, self._clock(), PURGED))

    def _key(self, head: dict[str, Any]) -> RequestKey:
        asked = head["idempotency"]
        client = head["client"] if "client" in head else head["actor"]["client_id"]
        named, body = (client, asked["operation"], asked["key"]), bytes.fromhex(asked["body"])
        return idempotency.request_key(self._ledger.hold_key, named, body, self._clock())

    def _find(self, key: RequestKey) -> Reply | None:
        with reading(self._reader) as connection:
            stored = idempotency.find(connection, key.hash, self._clock())
            if stored is None:
                return None
            if stored.fingerprint != key.fingerprint:
                return _other()
            if not stored.is_whole:
                return desk.refusal("erased", f"the request is on record as {stored.id}, and was erased")
            receipt = self._ledger.receipt(connection, stored)
        head = {"status": stored.status, "record": str(stored.id), "headers": {_RECORDED: "true"}}
        return head | {"receipt": receipts.header(receipt)}, stored.output


def _busy() -> Reply:
    head, body = desk.refusal("in-flight", _BUSY)
    return head | {"headers": desk.RETRY}, body


def _other() -> Reply:
    return desk.refusal("key-reused", "this key was sent with another body; make a new key for a new request")
