"""Whose tokens are believed: our own, or those of an issuer that the operator names. What they know is kept fresh here.

Keys are read in the background only. A token never causes a look at the disk or the network, whatever `kid` it names.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from api import jwts, keyring
from api.calls import Claims
from api.jwks import NoKey, VerifyingKey, read_set
from api.jwts import Profile, TokenRefused
from api.keys import KeyRefused
from api.problems import RequestRefused
from api.readings import SettingRefused
from api.settings import Settings

FETCH_S = 300.0  # how often another issuer's keys are looked at
UNKNOWN_S = 10.0  # how soon again when a token named a key that was not among them
WITHIN_S = 5.0
MAX_SET_BYTES = 1 << 20
log = structlog.get_logger()


class Authority:
    """Signs and verifies the tokens of this service with the keys of its var folder."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys; raises KeyRefused where one cannot be used."""
        self._var, self._lifetime_s = settings.var, settings.token_lifetime_s
        self.profile = Profile(issuer=settings.public_url, audience=settings.public_url)
        self._stamp = keyring.stamp(self._var)
        self._ring = keyring.read(self._var)

    @property
    def leeway_s(self) -> int:
        """Say how long after its time a token is believed, for clocks that differ."""
        return keyring.LEEWAY_S

    @property
    def lifetime_s(self) -> int:
        """Say how long a token lives."""
        return self._lifetime_s

    def sign(self, client_id: str, scope: str, now_s: int, jti: str | None = None) -> str:
        """Write a token for a client that proved who it is; `jti` names it, a new one unless told."""
        claims = Claims(client_id=client_id, scopes=frozenset(scope.split()), jti=jti or jwts.new_jti())
        return jwts.sign(self._ring.active, self.profile, claims, now_s, self._lifetime_s)

    def verify(self, token: str, now_s: int) -> Claims:
        """Check everything a token claims; raises TokenRefused."""
        keys = {each.kid: each for each in self._ring.verifying(now_s)}
        return jwts.verify(token, keys, self.profile, now_s)

    def published(self, now_s: int) -> list[dict[str, str]]:
        """Show the public keys, each once."""
        return list({each.kid: each.jwk() for each in self._ring.verifying(now_s)}.values())

    def refresh(self) -> None:
        """Read the keys again where the folder has changed; one that cannot be read leaves those that are known."""
        found = keyring.stamp(self._var)
        if found == self._stamp:
            return
        try:
            self._ring, self._stamp = keyring.read(self._var), found
        except KeyRefused as refused:
            log.error("token-keys-not-read", reason=str(refused))  # noqa: TRY400  # the reason is all there is to know
        else:
            log.info("token-keys-read", active=self._ring.active.verifying.kid, keys=len(self._ring.kept))


class Foreign:
    """Verifies the tokens of another issuer (Keycloak and the like) with the keys it publishes."""

    def __init__(
        self, profile: Profile, fetch: Callable[[], Mapping[str, VerifyingKey]], clock_s: Callable[[], float]
    ) -> None:
        self.profile, self._fetch, self._clock_s = profile, fetch, clock_s
        self._keys: Mapping[str, VerifyingKey] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._is_behind = False

    def verify(self, token: str, now_s: int) -> Claims:
        """Check everything a token claims.

        Raises:
            TokenRefused: it is not to be believed.
            RequestRefused: `issuer-unavailable`: no key of the issuer is known yet, so nobody can tell.
        """
        if not self._keys:
            detail = "the keys of the issuer of tokens are not known yet; ask again in a few seconds"
            raise RequestRefused("issuer-unavailable", detail, Retry_After="5")
        if (kid := jwts.kid_of(token)) not in self._keys:
            self._is_behind = (
                True  # looked up in the background: a stranger's kid must not make us fetch at will
            )
            raise TokenRefused("key", kid=kid)
        return jwts.verify(token, self._keys, self.profile, now_s)

    def refresh(self) -> None:
        """Fetch the keys again when it is time; while the issuer does not answer, those that are known hold."""
        now = self._clock_s()
        is_due = now - self._fetched_at >= FETCH_S or self._is_behind or not self._keys
        if not is_due or now - self._tried_at < UNKNOWN_S:
            return
        self._tried_at = now
        try:
            self._keys = self._fetch()
        except (OSError, ValueError) as failed:
            log.warning("issuer-keys-not-fetched", reason=str(failed), known=len(self._keys))
        else:
            self._fetched_at, self._is_behind = now, False


def of(settings: Settings) -> Authority | Foreign:
    """Choose by the settings.

    Raises:
        KeyRefused: our own keys cannot be used.
        SettingRefused: another issuer is named, and not where its keys are.
    """
    if not settings.issuer:
        return Authority(settings)
    if not settings.issuer_keys:
        raise SettingRefused("ONRECORD_ISSUER_KEYS", "", "an address or a file, for ONRECORD_ISSUER is set")
    profile = Profile(issuer=settings.issuer, audience=settings.audience, is_ours=False)
    return Foreign(profile, lambda: _fetched(settings.issuer_keys), time.monotonic)


def _fetched(place: str) -> Mapping[str, VerifyingKey]:
    """Read a JWK set from an address or a file; raises OSError or ValueError."""
    if "://" not in place:
        return read_set(json.loads(Path(place).read_bytes()))
    with urllib.request.urlopen(place, timeout=WITHIN_S) as answer:  # noqa: S310  # http(s), by the setting's pattern
        content = answer.read(MAX_SET_BYTES + 1)
    if len(content) > MAX_SET_BYTES:
        raise NoKey(f"is larger than {MAX_SET_BYTES} bytes")
    return read_set(json.loads(content))
