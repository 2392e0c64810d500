"""Telling others that an alert fires or is over: signed, tried again, and never in anybody's way.

Signed as Standard Webhooks has it: HMAC-SHA256 over id, time and body, with a secret that both sides hold. Who receives
it checks signature and time, and takes an id once: what is not known to have arrived is sent again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

WAITING = 100  # more can only be alerts that flap while nobody listens; the oldest are given up
DEADLINE_S = 10.0
# A receiver that is being deployed is back by the fourth, one that broke at night by the last.
PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
PREFIX = "whsec_"
log = structlog.get_logger()


class SecretRefused(Exception):
    """The file of ONRECORD_WEBHOOK_SECRET holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told, where; `id` is that of the record."""

    id: str
    url: str
    body: bytes


def read_secret(text: str) -> bytes:
    """
    Read `whsec_` and base64 of 24 bytes or more.

    Raises:
        SecretRefused: it is not that.
    """
    try:
        secret = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise SecretRefused(f"write {PREFIX} and base64 into it") from error
    if not text.startswith(PREFIX) or len(secret) < 24:
        raise SecretRefused(f"write {PREFIX} and base64 of at least 24 random bytes into it")
    return secret


def signed(message: Message, secret: bytes, at_s: int) -> dict[str, str]:
    """Make the headers of one attempt."""
    content = b"%s.%d.%s" % (message.id.encode(), at_s, message.body)
    signature = base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{signature}",
    }


class Webhooks:
    """Sends messages one after the other, for as long as the engine lives; `clock_s` gives seconds since 1970."""

    def __init__(self, secret: bytes, clock_s: Callable[[], int]) -> None:
        self._secret, self._clock_s = secret, clock_s
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(WAITING)

    def put(self, message: Message) -> None:
        """Take a message; never waits."""
        if self._waiting.full():
            lost = self._waiting.get_nowait()
            log.error("webhook-given-up", id=lost.id, reason="too many wait")
        self._waiting.put_nowait(message)

    async def run(self) -> None:
        """Send what comes, each message until it has arrived or is given up."""
        import httpx

        # trust_env: no proxy of the environment; and no redirect is followed: only the host that was allowed is asked.
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S, follow_redirects=False) as client:
            while True:
                await self._send(client, await self._waiting.get())

    async def _send(self, client: Any, message: Message) -> None:
        for pause in (*PAUSES_S, None):
            reason = await self._attempt(client, message)
            if reason is None:
                log.info("webhook-delivered", id=message.id)
                return
            log.warning("webhook-failed", id=message.id, reason=reason, again_in_s=pause)
            if pause is None:
                log.error("webhook-given-up", id=message.id, reason=reason)
                return
            await asyncio.sleep(pause)

    async def _attempt(self, client: Any, message: Message) -> str | None:
        """Send it once; why it did not arrive, or None."""
        import httpx

        try:
            async with asyncio.timeout(DEADLINE_S):
                headers = signed(message, self._secret, self._clock_s())
                # Streamed, and closed unread: what a receiver says beyond its status is of no use, however long.
                async with client.stream(
                    "POST", message.url, content=message.body, headers=headers
                ) as answer:
                    status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as failed:
            return type(failed).__name__
        return None if 200 <= status < 300 else f"status {status}"
