"""Who calls, and may they: from the Authorization header to claims, or the one right refusal.

A disabled client's tokens die within `REFRESH_S`, and so do those of a key that was removed: the doors look at database
and keys in the background, never in the way of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import anyio.to_thread
import structlog

from api.authority import Authority, Foreign
from api.calls import Claims
from api.jwts import TokenRefused
from api.problems import RequestRefused
from db.engine import StorageUnavailable

REFRESH_S = 2
log = structlog.get_logger()


class Callers:
    """Checks tokens and the scopes they carry, against the keys and the list of disabled clients."""

    def __init__(
        self,
        authority: Authority | Foreign,
        disabled: Callable[[], frozenset[str]],
        clock_s: Callable[[], int],
    ) -> None:
        self._authority = authority
        self._read_disabled = disabled
        self._disabled: frozenset[str] = frozenset()
        self._clock_s = clock_s

    def authorize(self, headers: Iterable[tuple[bytes, bytes]], needed: frozenset[str]) -> Claims:
        """Verify the bearer token of these headers and that it has every scope needed.

        Raises:
            RequestRefused: `unauthorized` without a hint what failed, `forbidden` with the scope that is missing,
                `bad-request` for two Authorization headers.
        """
        token = _token(headers)
        try:
            claims = self._authority.verify(token, self._clock_s())
        except TokenRefused as refused:
            log.info("token refused", reason=str(refused))
            raise _unauthorized(', error="invalid_token"') from refused
        if claims.client_id in self._disabled:
            raise _unauthorized(', error="invalid_token"')
        if missing := needed - claims.scopes:
            names = " ".join(sorted(missing))
            header = f'Bearer realm="onrecord", error="insufficient_scope", scope="{names}"'
            raise RequestRefused("forbidden", f"this needs the scope {names}", WWW_Authenticate=header)
        return claims

    async def refresh(self) -> None:
        """Learn which keys count and which clients are disabled; what cannot be read leaves what was known."""
        try:
            await anyio.to_thread.run_sync(self._authority.refresh)
            self._disabled = await anyio.to_thread.run_sync(self._read_disabled)
        except StorageUnavailable:
            log.warning("disabled-clients-unknown", consequence="only those known before are refused")
        except Exception:
            # Whatever it is must not end the refreshing for good: no later disabling would ever be seen.
            log.exception("callers-not-refreshed")

    async def refresh_for_ever(self) -> None:
        """Learn of changes every two seconds."""
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()


def _token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) > 1:
        raise RequestRefused("bad-request", "send one Authorization header")
    scheme, _, token = given[0].decode("latin-1").partition(" ") if given else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("")
    return token


def _unauthorized(error: str) -> RequestRefused:
    detail = "send an access token from /oauth/token as a Bearer token"
    return RequestRefused("unauthorized", detail, WWW_Authenticate=f'Bearer realm="onrecord"{error}')
