"""In front of the API: whoever fails to authenticate too often is told to wait, and nobody else is.

Failures are counted by address (of IPv6, by its /64), at the engine, so that all doors of a host count together. An
address over its limit gets 429 where it would have got 401; at the `/oauth/` addresses, where secrets could be guessed,
it is refused before its secret is looked at, and so it is where pages ask another issuer (api/pages/granting.py). A
token that is good is served wherever it comes from. While the engine does not answer, each door counts by itself.
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


class Failures:
    """Failures to authenticate, by address; `quota` a minute of one address are answered, 0: all."""

    def __init__(self, line: Line, quota: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._line, self._quota, self._clock_s = line, quota, clock_s
        self._own = Limit("failures", quota)
        self._refused: dict[str, tuple[float, Over]] = {}

    def __len__(self) -> int:
        return len(self._refused)

    @property
    def are_counted(self) -> bool:
        """Say whether there is a limit."""
        return bool(self._quota)

    def refuse(self, address: str) -> None:
        """Refuse an address that is over the limit, before what it gives is looked at; raises RequestRefused."""
        if over := self._known(_network(address)):
            raise limits.refused(over)

    async def count(self, address: str) -> None:
        """Count a failure; raises RequestRefused where it is one too many."""
        name = _network(address)
        over = self._known(name)
        if over is None and (over := await self._over(name)):
            while len(self._refused) >= REMEMBERED:
                self._refused.pop(next(iter(self._refused)), None)
            self._refused[name] = self._clock_s() + over.wait_s, over
        if over is not None:
            raise limits.refused(over)

    def _known(self, name: str) -> Over | None:
        until_s, over = self._refused.get(name, (0.0, None))
        if over is not None and until_s <= self._clock_s():
            self._refused.pop(name, None)  # pages ask from threads of their own
            return None
        return over

    async def _over(self, name: str) -> Over | None:
        if not self._quota:
            return None
        try:
            frame = await self._line.ask({"do": "failed", "address": name}, within_s=WITHIN_S)
        except EngineUnavailable:
            return self._own.over(name, self._clock_s())
        told: dict[str, Any] | None = frame.head.get("over")
        return None if told is None else Over(**told)


class Throttle:
    """Wraps the API of a door, and counts what fails there."""

    def __init__(self, app: ASGIApp, failures: Failures) -> None:
        self._app, self._failures = app, failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._failures.are_counted or scope["type"] != "http" or not scope["client"]:
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
                await self._failures.count(scope["client"][0])
            raise

    async def _guessed(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = scope["client"][0]
        self._failures.refuse(address)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                await self._failures.count(address)
            await send(message)

        await self._app(scope, receive, sending)


def _network(address: str) -> str:
    """Return the network that one caller may have all of."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
