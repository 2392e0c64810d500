"""Who calls, and may they: from the Authorization header to claims, or the one right refusal.

The doors look at database and keys in the background, never in the way of a request: the tokens of a disabled client,
revoked tokens and those of a removed key die within `REFRESH_S`. While the database does not answer, what was known
last is believed for `BELIEVED_S` at most, and for nothing that changes what may be done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import anyio.to_thread
import structlog

from api.authority import Authority, Foreign
from api.calls import Claims
from api.jwts import TokenRefused
from api.problems import TWO_HEADERS, RequestRefused
from db.engine import StorageUnavailable
from db.standing import Standing

REFRESH_S = 2
BELIEVED_S = 60.0
FRESH_S = 10.0  # for scopes that change who may do what, or that nothing brings back
_GRAVE = frozenset({"clients:write", "models:write", "audit:erase"})
log = structlog.get_logger()


class Callers:
    """Checks tokens and the scopes they carry, against the keys and what is no longer believed."""

    def __init__(
        self,
        authority: Authority | Foreign,
        read_standing: Callable[[], Standing],
        clock_s: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        seen: Callable[[str], None] = lambda _client_id: None,
    ) -> None:
        """`seen` is told of every client that has a token, or gets one."""
        self.authority, self.seen = authority, seen
        self._read_standing = read_standing
        self._standing = Standing()
        self._just_revoked: frozenset[str] = frozenset()
        self._clock_s, self._monotonic = clock_s, monotonic
        self._known_at = float("-inf")

    def authorize(self, headers: Iterable[tuple[bytes, bytes]], needed: frozenset[str]) -> Claims:
        """Verify the bearer token of these headers and that it has every scope needed.

        Raises:
            RequestRefused: `unauthorized` without a hint what failed, `forbidden` with the scope that is missing,
                `bad-request` for two Authorization headers, `store-unavailable` where nobody can tell any more.
        """
        token = _token(headers)
        try:
            claims = self.believe(token)
        except TokenRefused as refused:
            log.info("token refused", reason=str(refused))
            raise _unauthorized(', error="invalid_token"').tell(**_told(refused)) from refused
        self.seen(claims.client_id)
        if missing := needed - claims.scopes:
            names = " ".join(sorted(missing))
            header = f'Bearer realm="onrecord", error="insufficient_scope", scope="{names}"'
            forbidden = RequestRefused("forbidden", f"this needs the scope {names}", WWW_Authenticate=header)
            raise forbidden.tell(**told(claims))
        if self._monotonic() - self._known_at > (FRESH_S if needed & _GRAVE else BELIEVED_S):
            detail = "whether this token was revoked cannot be told; ask again in a second"
            raise RequestRefused("store-unavailable", detail, Retry_After="1")
        return claims

    def believe(self, token: str) -> Claims:
        """Return what a token is good for; raises TokenRefused where it is false, dead or revoked."""
        claims = self.authority.verify(token, self._clock_s())
        standing = self._standing
        if claims.client_id in standing.disabled:
            raise TokenRefused("client disabled", proven=claims)
        if claims.jti in standing.revoked or claims.jti in self._just_revoked:
            raise TokenRefused("revoked", proven=claims)
        # By whole seconds, as tokens say them: one from the very second of the revocation is refused, too.
        if claims.issued_at_s <= standing.not_before_s.get(claims.client_id, -1):
            raise TokenRefused("issued before all were revoked", proven=claims)
        return claims

    def revoke(self, jti: str) -> None:
        """Refuse a token from now on, before the database is looked at again."""
        self._just_revoked |= {jti}

    async def refresh(self) -> None:
        """Learn which keys count and who is not believed; what cannot be read leaves what was known."""
        try:
            await anyio.to_thread.run_sync(self.authority.refresh)
            just_revoked = self._just_revoked
            self._standing = await anyio.to_thread.run_sync(self._read_standing)
            self._just_revoked -= just_revoked  # they were recorded before that reading, so it has them
            self._known_at = self._monotonic()
        except StorageUnavailable:
            log.warning("standing-unknown", consequence="what was known before is believed for a minute")
        except Exception:
            # Whatever it is must not end the refreshing for good: no later revocation would ever be seen.
            log.exception("callers-not-refreshed")

    async def refresh_for_ever(self) -> None:
        """Learn of changes every two seconds."""
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()


def _token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) > 1:
        raise RequestRefused("bad-request", "send one Authorization header").tell(**TWO_HEADERS)
    scheme, _, token = given[0].decode("latin-1").partition(" ") if given else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("").tell(reason="no bearer token")
    return token


def told(claims: Claims) -> dict[str, Any]:
    """Say for a security event who was proven to ask, and what it may do."""
    return {"client_id": claims.client_id, "jti": claims.jti, "held": " ".join(sorted(claims.scopes))}


def _told(refused: TokenRefused) -> dict[str, Any]:
    proven = {} if refused.proven is None else told(refused.proven) | {"verified_signature": True}
    return {"reason": str(refused), "claimed_kid": refused.kid, **proven}


def _unauthorized(error: str) -> RequestRefused:
    detail = "send an access token from /oauth/token as a Bearer token"
    return RequestRefused("unauthorized", detail, WWW_Authenticate=f'Bearer realm="onrecord"{error}')
