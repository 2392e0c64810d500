"""Access tokens: JWTs in the profile of RFC 9068, signed and verified.

PyJWT alone accepts more than the profile allows (other `typ`, any `kid`, `exp` as text, repeated claims), so header
and claims are read a second time with the strict parser. Nothing in a token's header is ever trusted: the key is
looked up by `kid` in memory, the algorithm is the key's own.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from api.bodies import read_json
from api.calls import Claims
from api.jwks import SigningKey, VerifyingKey
from api.keyring import LEEWAY_S, MAX_LIFETIME_S
from api.problems import RequestRefused

TYPE = "at+jwt"
MAX_BYTES = 4096
_SHAPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")
NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")
_TYPES = frozenset({TYPE, f"application/{TYPE}"})
_HEADER = frozenset({"alg", "typ", "kid"})
_HINTS = frozenset(
    {"x5t", "x5t#S256"}
)  # other issuers name a certificate beside the kid; it is not looked at
_CLAIMS = ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")
_REMEMBERED = 1024  # tokens of 4 KiB at most
_GOOD: dict[str, _Good] = {}  # only what a key has signed gets in, so that strangers cannot fill the memory
# The last second of the year 9999; beyond, a time cannot be shown.
_LAST_SECOND = 253_402_300_799


class TokenRefused(Exception):
    """The token is not one of ours, or no longer; which check failed is for the operator, not for the caller.

    `proven` is what the token says of its client and itself, where its signature is good all the same; `kid` is the key
    it names, which proves nothing.
    """

    def __init__(self, reason: str, *, kid: str | None = None, proven: Claims | None = None) -> None:
        super().__init__(reason)
        self.kid, self.proven = kid, proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What tokens of one issuer have to say; `is_ours` asks for exactly what `sign` writes."""

    issuer: str
    audience: str
    is_ours: bool = True


def sign(key: SigningKey, profile: Profile, claims: Claims, now_s: int, lifetime_s: int) -> str:
    """Write a token that carries nothing but who, what for, and until when."""
    content = {
        "iss": profile.issuer,
        "aud": profile.audience,
        "sub": claims.client_id,
        "client_id": claims.client_id,
        "scope": " ".join(sorted(claims.scopes)),
        "iat": now_s,
        "exp": now_s + lifetime_s,
        "jti": claims.jti,
    }
    named = key.verifying
    return jwt.encode(content, key.private, named.algorithm, {"typ": TYPE, "kid": named.kid})


def new_jti() -> str:
    """Name a token with 128 random bits."""
    return secrets.token_urlsafe(16)


def kid_of(token: str) -> str:
    """Read which key a token says it was signed with, believing nothing; TokenRefused for what cannot be a token."""
    kid = strict(parts_of(token)[0]).get("kid")
    if not isinstance(kid, str):
        raise TokenRefused("header")
    return kid


def parts_of(token: str) -> tuple[str, str, str]:
    """Cut a JWT into header, payload and signature; TokenRefused for what cannot be one, or is too long."""
    if len(token) > MAX_BYTES or not _SHAPE.fullmatch(token):
        raise TokenRefused("shape")
    header, payload, signature = token.split(".")
    return header, payload, signature


def verify(token: str, keys: Mapping[str, VerifyingKey], profile: Profile, now_s: int) -> Claims:
    """Check everything a token claims.

    Raises:
        TokenRefused: for whatever reason; nothing else leaves this function.
    """
    good = _GOOD.get(token)
    if (
        good is not None
        and keys.get(good.key.kid) is good.key
        and good.profile == profile
        and good.from_s <= now_s < good.until_s
    ):
        return good.claims
    kid = kid_of(token)
    key = keys.get(kid)
    if key is None:
        raise TokenRefused("key", kid=kid)
    header, payload, _ = token.split(".")
    try:
        _check_header(strict(header), key, profile)
        claims = strict(payload)
        try:
            check_times(claims, now_s, MAX_LIFETIME_S, LEEWAY_S)
            _check_signature(token, key, profile)
        except Dead as dead:
            raise TokenRefused(str(dead), proven=_proven(token, key, claims, profile)) from dead
        return _remembered(token, key, profile, claims)
    except TokenRefused as refused:
        refused.kid = kid
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Good:
    """What a token said that was good under this key and profile, and from when until when that holds."""

    key: VerifyingKey
    profile: Profile
    claims: Claims
    from_s: int
    until_s: int


def _remembered(token: str, key: VerifyingKey, profile: Profile, claims: Mapping[str, Any]) -> Claims:
    """Remember a good token: what a key has signed once, it has signed. That the key still counts is asked anew."""
    good = _Good(
        key=key,
        profile=profile,
        claims=_claims(claims, profile),
        from_s=max(claims["iat"], claims.get("nbf", 0)) - LEEWAY_S,
        until_s=claims["exp"] + LEEWAY_S,
    )
    if len(_GOOD) >= _REMEMBERED:
        _GOOD.clear()  # one verification more for each token at most; threads may be looking, so nothing is picked out
    _GOOD[token] = good
    return good.claims


class Dead(TokenRefused):
    """What a token claims is not, or no longer, to be believed, whoever signed it."""


def _proven(token: str, key: VerifyingKey, claims: Mapping[str, Any], profile: Profile) -> Claims | None:
    """Say whose a token is that is refused for what it claims, if nothing but its signature counted."""
    checks = {"enforce_minimum_key_length": True} | {f"verify_{name}": False for name in _CLAIMS}
    try:
        _PYJWT.decode(token, key.public, algorithms=[key.algorithm], options=checks)  # type: ignore[arg-type]  # as below
        return _claims({"iat": 0, "exp": 0, **claims}, profile)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, TokenRefused):
        return None


def _check_header(header: Mapping[str, Any], key: VerifyingKey, profile: Profile) -> None:
    if not all(isinstance(value, str) for value in header.values()):
        raise TokenRefused("header")
    if header.get("alg") != key.algorithm:
        raise TokenRefused("algorithm")
    names, typ = header.keys(), header.get("typ", "").lower()
    if profile.is_ours and (names != _HEADER or typ not in _TYPES):
        raise TokenRefused("header or typ")
    if not names <= _HEADER | _HINTS or typ not in _TYPES | {"jwt", ""}:
        raise TokenRefused("header or typ")


def check_times(claims: Mapping[str, Any], now_s: int, longest_s: int, leeway_s: int) -> None:
    """Refuse what is over, not yet, or lives longer than it may; raises Dead."""
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    if any(type(value) is not int or not 0 <= value <= _LAST_SECOND for value in times.values()):
        raise Dead("times")
    if not {"exp", "iat"} <= times.keys() or not 0 < times["exp"] - times["iat"] <= longest_s:
        raise Dead("lifetime")
    if now_s >= times["exp"] + leeway_s or max(times["iat"], times.get("nbf", 0)) > now_s + leeway_s:
        raise Dead("expired or not yet valid")


def _check_signature(token: str, key: VerifyingKey, profile: Profile) -> None:
    # Times were checked above against the clock we were given; PyJWT would ask the system's.
    checks = {
        "require": ["exp", "iat", "iss", "aud", "sub", "jti", "scope"],
        "strict_aud": profile.is_ours,
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
        "enforce_minimum_key_length": True,
    }
    try:
        _PYJWT.decode(
            token,
            key.public,
            algorithms=[key.algorithm],
            audience=profile.audience,
            issuer=profile.issuer,
            options=checks,  # type: ignore[arg-type]  # the type knows only some of the options PyJWT reads
        )
    except (jwt.DecodeError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError) as refused:
        raise TokenRefused("signature") from refused
    except (jwt.PyJWTError, ValueError, TypeError) as refused:
        raise Dead("claims") from refused


_PYJWT = jwt.PyJWT()


def strict(part: str) -> Mapping[str, Any]:
    """Read header or payload as strictly as a body; raises TokenRefused."""
    try:
        content = read_json(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RequestRefused) as refused:
        raise TokenRefused("encoding") from refused
    if not isinstance(content, dict):
        raise TokenRefused("encoding")
    return content


def _claims(claims: Mapping[str, Any], profile: Profile) -> Claims:
    # Others name the program that calls `azp` (OpenID Connect) where RFC 9068 says `client_id`.
    client_id = claims.get("client_id", None if profile.is_ours else claims.get("azp"))
    for name, value in {"sub": claims["sub"], "client_id": client_id, "jti": claims["jti"]}.items():
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise TokenRefused(name)
    if profile.is_ours and claims["sub"] != client_id:
        raise TokenRefused("subject")
    scope = claims["scope"]
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
        raise TokenRefused("scope")
    return Claims(
        client_id=str(client_id),
        scopes=frozenset(scope.split(" ")),
        jti=claims["jti"],
        issued_at_s=claims["iat"],
        expires_at_s=claims["exp"],
    )
