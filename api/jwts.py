"""Access tokens: ES256 JWTs in the profile of RFC 9068, signed and verified. The only file that knows PyJWT.

PyJWT alone accepts more than the profile allows (other `typ`, any `kid`, `exp` as text, repeated claims), so header
and claims are read a second time with the strict parser. Nothing in a token's header is ever trusted: the key is
looked up by `kid` in memory, the algorithm is the key's own.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from api.bodies import read_json
from api.calls import Claims
from api.problems import RequestRefused

ALGORITHM = "ES256"
TYPE = "at+jwt"
LEEWAY_S = 30
MAX_BYTES = 4096
MAX_LIFETIME_S = 3600
_SHAPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")
_REQUIRED = ("exp", "iat", "iss", "aud", "sub", "jti", "client_id", "scope")
_HEADER = {"alg", "typ", "kid"}
# The last second of the year 9999; beyond, a time cannot be shown.
_LAST_SECOND = 253_402_300_799


class TokenRefused(Exception):
    """The token is not one of ours, or no longer; which check failed is for the log, not for the caller."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair's private half, with the thumbprint that tokens name it by."""

    private: ec.EllipticCurvePrivateKey
    kid: str

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> Key:
        """Compute the thumbprint (RFC 7638: SHA-256 over the required members, in their order)."""
        members = orjson.dumps({name: _public(private)[name] for name in ("crv", "kty", "x", "y")})
        return cls(private, _b64(hashlib.sha256(members).digest()))

    def public(self) -> dict[str, str]:
        """Show the public half as a JWK; no private member is ever in it."""
        return {**_public(self.private), "kid": self.kid, "use": "sig", "alg": ALGORITHM}


def _public(private: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    point = private.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _b64(point.x.to_bytes(32, "big")),
        "y": _b64(point.y.to_bytes(32, "big")),
    }


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Signs and verifies the tokens of one issuer, which is also their audience."""

    key: Key
    issuer: str
    lifetime_s: int

    def sign(self, client_id: str, scope: str, now_s: int) -> str:
        """Write a token that carries nothing but who, what for, and until when."""
        claims = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": client_id,
            "client_id": client_id,
            "scope": scope,
            "iat": now_s,
            "exp": now_s + self.lifetime_s,
            "jti": secrets.token_urlsafe(16),
        }
        return jwt.encode(claims, self.key.private, ALGORITHM, {"typ": TYPE, "kid": self.key.kid})

    def verify(self, token: str, now_s: int) -> Claims:
        """Check everything a token claims.

        Raises:
            TokenRefused: for whatever reason; nothing else leaves this function.
        """
        if len(token) > MAX_BYTES or not _SHAPE.fullmatch(token):
            raise TokenRefused("shape")
        header, payload, _ = token.split(".")
        self._check_header(_strict(header))
        claims = _strict(payload)
        self._check_times(claims, now_s)
        self._check_signature(token)
        return _claims(claims)

    def _check_header(self, header: Mapping[str, Any]) -> None:
        if header.keys() != _HEADER or not all(isinstance(value, str) for value in header.values()):
            raise TokenRefused("header")
        if header["alg"] != ALGORITHM or header["kid"] != self.key.kid:
            raise TokenRefused("key")
        if header["typ"].lower() not in (TYPE, f"application/{TYPE}"):
            raise TokenRefused("typ")

    def _check_times(self, claims: Mapping[str, Any], now_s: int) -> None:
        times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
        if any(type(value) is not int or not 0 <= value <= _LAST_SECOND for value in times.values()):
            raise TokenRefused("times")
        if not {"exp", "iat"} <= times.keys() or not 0 < times["exp"] - times["iat"] <= MAX_LIFETIME_S:
            raise TokenRefused("lifetime")
        if now_s >= times["exp"] + LEEWAY_S or max(times["iat"], times.get("nbf", 0)) > now_s + LEEWAY_S:
            raise TokenRefused("expired or not yet valid")

    def _check_signature(self, token: str) -> None:
        # Times were checked above against the clock we were given; PyJWT would ask the system's.
        checks = {
            "require": list(_REQUIRED),
            "strict_aud": True,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        try:
            _PYJWT.decode(
                token,
                self.key.private.public_key(),
                algorithms=[ALGORITHM],
                audience=self.issuer,
                issuer=self.issuer,
                options=checks,  # type: ignore[arg-type]  # the type knows only some of the options PyJWT reads
            )
        except (jwt.PyJWTError, ValueError) as refused:
            raise TokenRefused("signature or claims") from refused


_PYJWT = jwt.PyJWT()


def _strict(part: str) -> Mapping[str, Any]:
    try:
        content = read_json(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RequestRefused) as refused:
        raise TokenRefused("encoding") from refused
    if not isinstance(content, dict):
        raise TokenRefused("encoding")
    return content


def _claims(claims: Mapping[str, Any]) -> Claims:
    for name in ("sub", "client_id", "jti"):
        if not isinstance(claims[name], str) or not _NAME.fullmatch(claims[name]):
            raise TokenRefused(name)
    scope = claims["scope"]
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope) or claims["sub"] != claims["client_id"]:
        raise TokenRefused("scope or subject")
    return Claims(client_id=claims["client_id"], scopes=frozenset(scope.split(" ")), jti=claims["jti"])
