"""Client assertions: a client signs who it is with a key of its own, instead of sending a secret (RFC 7523).

An assertion is read as strictly as an access token (api/jwts.py), and neither passes for the other: it is signed with a
key that its client registered, names that client as issuer, and is not of the type `at+jwt`. Each is good once; the
engine keeps account of that for all doors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio.from_thread
import jwt
import orjson

from api import jwts
from api.jwks import NoKey, VerifyingKey, read_set
from api.jwts import TokenRefused
from api.line import EngineUnavailable, Line, unavailable
from api.problems import RequestRefused
from db.clients import Client

LIFETIME_S = 60
LEEWAY_S = 10  # for clocks that differ; single use has to be remembered for as long (api/engine/once.py)
_HEADER = frozenset({"alg", "typ", "kid"})
_TYPES = frozenset({"", "jwt", "client-authentication+jwt"})
_CLAIMS = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti"})
_JTI = re.compile(r"[!-~]{1,128}")
_PYJWT = jwt.PyJWT()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What a verified assertion says."""

    client_id: str
    jti: str
    issued_at_s: int
    expires_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertions:
    """Knows clients by what they have signed; called on a worker thread."""

    find: Callable[[str], Client | None]
    issuer: str
    clock_s: Callable[[], int]
    line: Line

    def __call__(self, text: str) -> Client | None:
        """Return the client that has signed this, None where none has, or where it was used before.

        Raises:
            RequestRefused: `engine-unavailable`: nobody can tell now whether it was used before.
        """
        try:
            client = self.find(subject_of(text))
            keys = {} if client is None or client.disabled_at_us is not None else keys_of(client)
            told = verify(text, keys, self.issuer, self.clock_s())
        except TokenRefused:
            return None
        return client if self._is_first(told) else None

    def _is_first(self, told: Assertion) -> bool:
        head = {
            "do": "once",
            "name": f"{told.client_id} {told.jti}",
            "from_s": told.issued_at_s,
            "until_s": told.expires_at_s + LEEWAY_S,
        }
        try:
            frame = anyio.from_thread.run(self.line.ask, head)
        except EngineUnavailable as lost:
            raise unavailable() from lost
        content = orjson.loads(frame.body)
        if frame.head["status"] >= 400:
            raise RequestRefused(content["type"].rpartition("/")[2], content["detail"], Retry_After="1")
        return content["first"] is True


def keys_of(client: Client) -> Mapping[str, VerifyingKey]:
    """Read the keys that a client has registered, by their ids."""
    try:
        return {} if client.jwks is None else read_set(orjson.loads(client.jwks))
    except NoKey:
        return {}  # stored by a release that knew more kinds of keys


def subject_of(text: str) -> str:
    """Read whom an assertion says it is of, believing nothing; TokenRefused for what cannot be one."""
    subject = jwts.strict(jwts.parts_of(text)[1]).get("sub")
    if not isinstance(subject, str) or not jwts.NAME.fullmatch(subject):
        raise TokenRefused("subject")
    return subject


def verify(text: str, keys: Mapping[str, VerifyingKey], issuer: str, now_s: int) -> Assertion:
    """Check everything an assertion claims, but not whether it was used before.

    Raises:
        TokenRefused: for whatever reason.
    """
    header, payload, _ = jwts.parts_of(text)
    key = _key(jwts.strict(header), keys)
    claims = jwts.strict(payload)
    if not {"iss", "sub", "aud", "exp", "iat", "jti"} <= claims.keys() <= _CLAIMS:
        raise TokenRefused("claims")
    jwts.check_times(claims, now_s, LIFETIME_S, LEEWAY_S)
    if not isinstance(claims["jti"], str) or not _JTI.fullmatch(claims["jti"]):
        raise TokenRefused("jti")
    if claims["iss"] != claims["sub"]:
        raise TokenRefused("subject")
    _check_signature(text, key, claims["sub"], issuer)
    return Assertion(
        client_id=claims["sub"], jti=claims["jti"], issued_at_s=claims["iat"], expires_at_s=claims["exp"]
    )


def _key(header: Mapping[str, Any], keys: Mapping[str, VerifyingKey]) -> VerifyingKey:
    if not header.keys() <= _HEADER or not all(isinstance(value, str) for value in header.values()):
        raise TokenRefused("header")
    if header.get("typ", "").lower() not in _TYPES:
        raise TokenRefused("typ")
    # Who has one key need not name it.
    only = next(iter(keys)) if len(keys) == 1 else ""
    key = keys.get(header.get("kid", only))
    if key is None:
        raise TokenRefused("key")
    if header.get("alg") != key.algorithm:
        raise TokenRefused("algorithm")
    return key


def _check_signature(text: str, key: VerifyingKey, client_id: str, issuer: str) -> None:
    # Times were checked against the clock we were given; PyJWT would ask the system's.
    checks = {
        "strict_aud": True,
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
        "enforce_minimum_key_length": True,
    }
    try:
        _PYJWT.decode(
            text,
            key.public,
            algorithms=[key.algorithm],
            audience=issuer,
            issuer=client_id,
            subject=client_id,
            options=checks,  # type: ignore[arg-type]  # the type knows only some of the options PyJWT reads
        )
    except (jwt.PyJWTError, ValueError, TypeError) as refused:
        raise TokenRefused("signature or claims") from refused
