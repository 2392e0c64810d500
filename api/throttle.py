"""In front of the API: whoever fails to authenticate too often is told to wait, and nobody else is.

Failures are counted by address (of IPv6, by its /64), at the engine, so that all doors of a host count together. An
address over its limit gets 429 where it would have got 401; at the `/oauth/` addresses, where secrets could be guessed,
it is refused before its secret is looked at. A token that is good is served wherever it comes from. While the engine
does not answer, each door counts by itself.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import limits
from api.limits import Limit, Over
from api.line import EngineUnavailable, Line
from api.problems import RequestRefused

REMEMBERED = 4096  # refused addresses of a door
WITHIN_S = 1.0
_GUESSED = "/oauth/"


class Throttle:
    """Wraps the API of a door; `quota` failures a minute of one address are answered, 0: all."""

    def __init__(
        self, app: ASGIApp, line: Line, quota: int, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._line, self._quota, self._clock_s = app, line, quota, clock_s
        self._own = Limit("failures", quota)
        self._refused: dict[str, tuple[float, Over]] = {}

    def __len__(self) -> int:
        return len(self._refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._quota or scope["type"] != "http" or not scope["client"]:
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith(_GUESSED):
            await self._guessed(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except RequestRefused as refused:
            # A request without any token tries nothing.
            if refused.fault.slug == "unauthorized" and any(
                name == b"authorization" for name, _ in scope["headers"]
            ):
                await self._count(_network(scope["client"][0]))
            raise

    async def _guessed(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = _network(scope["client"][0])
        if over := self._known(address):
            raise limits.refused(over)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                await self._count(address)
            await send(message)

        await self._app(scope, receive, sending)

    async def _count(self, address: str) -> None:
        """Count a failure; raises RequestRefused where it is one too many."""
        over = self._known(address)
        if over is None and (over := await self._over(address)):
            while len(self._refused) >= REMEMBERED:
                del self._refused[next(iter(self._refused))]
            self._refused[address] = self._clock_s() + over.wait_s, over
        if over is not None:
            raise limits.refused(over)

    def _known(self, address: str) -> Over | None:
        until_s, over = self._refused.get(address, (0.0, None))
        if over is not None and until_s <= self._clock_s():
            del self._refused[address]
            return None
        return over

    async def _over(self, address: str) -> Over | None:
        try:
            frame = await self._line.ask({"do": "failed", "address": address}, within_s=WITHIN_S)
        except EngineUnavailable:
            return self._own.over(address, self._clock_s())
        told: dict[str, Any] | None = frame.head.get("over")
        return None if told is None else Over(**told)


def _network(address: str) -> str:
    """Return the network that one caller may have all of."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
