"""A second reading of RFC 9068 and RFC 8725: what an access token of ours must be, with nothing of ours imported.

Standard library and `cryptography` only; no JWT library either. Given a token and the published key, it says whom the
token names, or None.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_LAST_S = 253402300799
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class _Wrong(Exception):
    pass


def verdict(
    token: str, jwk: dict[str, str], issuer: str, now_s: int
) -> tuple[str, frozenset[str], str] | None:
    """Return (client, scopes, jti) of a good token, None for every other text."""
    try:
        _want(len(token) <= 4096)
        parts = token.split(".")
        _want(len(parts) == 3)
        header, claims = (_json(_bytes(part)) for part in parts[:2])
        _want(header == {"alg": "ES256", "kid": jwk["kid"], "typ": header.get("typ")})
        _want(isinstance(header["typ"], str) and header["typ"].lower() in ("at+jwt", "application/at+jwt"))
        _signed(".".join(parts[:2]).encode("ascii"), _bytes(parts[2]), jwk)
        _times(claims, now_s)
        return _who(claims, issuer)
    except (_Wrong, ValueError, RecursionError):
        return None


def _want(is_true: object) -> None:
    if not is_true:
        raise _Wrong


def _bytes(part: str) -> bytes:
    _want(re.fullmatch(r"[A-Za-z0-9_-]+", part))
    data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    _want(urlsafe_b64encode(data).decode().rstrip("=") == part)  # one spelling only
    return data


def _json(data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8")
    value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    _want(isinstance(value, dict) and not text.startswith("\ufeff") and _depth(value) <= 32)
    text_inside = json.dumps(value, ensure_ascii=False)
    text_inside.encode("utf-8")  # a lone surrogate is no text
    _want("\\u0000" not in text_inside)
    return dict(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    _want(len(found) == len(pairs))
    return found


def _refuse(_name: str) -> None:
    raise _Wrong


def _finite(text: str) -> float:
    value = float(text)
    _want(value - value == 0)
    return value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _signed(message: bytes, signature: bytes, jwk: dict[str, str]) -> None:
    _want(len(signature) == 64)
    x, y = (int.from_bytes(_bytes(jwk[name])) for name in ("x", "y"))
    key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    pair = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    try:
        key.verify(pair, message, ECDSA(SHA256()))
    except InvalidSignature:
        raise _Wrong from None


def _times(claims: dict[str, Any], now_s: int) -> None:
    for name in {"exp", "iat", "nbf"} & claims.keys():
        _want(type(claims[name]) is int and 0 <= claims[name] <= _LAST_S)
    _want({"exp", "iat"} <= claims.keys())
    _want(0 < claims["exp"] - claims["iat"] <= 3600)
    _want(now_s < claims["exp"] + 30 and claims["iat"] <= now_s + 30 and claims.get("nbf", 0) <= now_s + 30)


def _who(claims: dict[str, Any], issuer: str) -> tuple[str, frozenset[str], str]:
    _want(claims.get("iss") == issuer and claims.get("aud") == issuer)
    for name in ("sub", "client_id", "jti", "scope"):
        _want(isinstance(claims.get(name), str))
    _want(
        claims["sub"] == claims["client_id"] and _ID.fullmatch(claims["sub"]) and _ID.fullmatch(claims["jti"])
    )
    scopes = claims["scope"].split(" ")
    _want(all(re.fullmatch(r"[\x21\x23-\x5B\x5D-\x7E]+", each) for each in scopes))
    return claims["client_id"], frozenset(scopes), claims["jti"]
