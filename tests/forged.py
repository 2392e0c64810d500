"""Tokens that must not be believed, each wrong in one way, made with the own key where that is what it takes."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from api import keyring
from api.jwks import SigningKey
from tests.service import Service

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
GONE = ...  # a member that is left out


def b64(data: bytes) -> str:
    """Write bytes as tokens do."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Forger:
    """Makes tokens for one service and one client; `trap` is the address of a listener that nobody may visit."""

    service: Service
    client_id: str
    trap: str = "http://127.0.0.1:9/"

    @property
    def key(self) -> SigningKey:
        return keyring.read(self.service.var).active

    @property
    def private(self) -> ec.EllipticCurvePrivateKey:
        assert isinstance(self.key.private, ec.EllipticCurvePrivateKey)
        return self.key.private

    def header(self, **changes: Any) -> str:
        return _members({"alg": "ES256", "typ": "at+jwt", "kid": self.key.verifying.kid}, changes)

    def claims(self, **changes: Any) -> str:
        now_s = int(time.time())
        good = {
            "iss": self.service.url,
            "aud": self.service.url,
            "sub": self.client_id,
            "scope": "predict models:read",
        }
        good |= {
            "client_id": self.client_id,
            "iat": now_s,
            "exp": now_s + 300,
            "jti": secrets.token_urlsafe(16),
        }  # type: ignore[dict-item]  # times are numbers
        return _members(good, changes)

    def signed(
        self, header: str | bytes, claims: str | bytes, sign: Callable[[bytes], bytes] | None = None
    ) -> str:
        """Sign exactly these texts."""
        parts = [b64(each.encode() if isinstance(each, str) else each) for each in (header, claims)]
        message = ".".join(parts)
        return f"{message}.{b64((sign or self.es256)(message.encode()))}"

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a good token with these changes; without any it is believed."""
        return self.signed(self.header(**(header or {})), self.claims(**claims))

    def es256(self, message: bytes) -> bytes:
        r, s = self.numbers(message)
        return r.to_bytes(32) + s.to_bytes(32)

    def numbers(self, message: bytes) -> tuple[int, int]:
        return decode_dss_signature(self.private.sign(message, ec.ECDSA(SHA256())))

    def mirrored(self) -> str:
        """Make a good token with the other of the two signatures that ECDSA has."""

        def sign(message: bytes) -> bytes:
            r, s = self.numbers(message)
            return r.to_bytes(32) + (ORDER - s).to_bytes(32)

        return self.signed(self.header(), self.claims(), sign)

    def hs256(self, secret: bytes) -> str:
        return self.signed(
            self.header(alg="HS256"),
            self.claims(),
            lambda message: hmac.digest(secret, message, hashlib.sha256),
        )

    def public(self, encoding: serialization.Encoding, form: serialization.PublicFormat) -> bytes:
        return self.private.public_key().public_bytes(encoding, form)


def _members(good: dict[str, Any], changes: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not GONE})


Forge = Callable[[Forger], str]


def _header(**changes: Any) -> Forge:
    return lambda forger: forger.token(changes)


def _claim(**changes: Any) -> Forge:
    return lambda forger: forger.token(**changes)


def _later(name: str, by_s: float) -> Forge:
    return lambda forger: forger.token(**{name: int(time.time() + by_s)})


def _raw(sign: Callable[[Forger, bytes], bytes]) -> Forge:
    return lambda forger: forger.signed(
        forger.header(), forger.claims(), lambda message: sign(forger, message)
    )


def _numbers(change: Callable[[int, int], tuple[int, int]]) -> Forge:
    def sign(forger: Forger, message: bytes) -> bytes:
        r, s = change(*forger.numbers(message))
        return r.to_bytes(32) + s.to_bytes(32)

    return _raw(sign)


def _own_rsa(forger: Forger) -> str:
    from cryptography.hazmat.primitives.asymmetric import padding

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header = forger.header(alg="RS256")
    return forger.signed(header, forger.claims(), lambda m: key.sign(m, padding.PKCS1v15(), SHA256()))


_X962, _POINT = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
_PEM, _DER = serialization.Encoding.PEM, serialization.Encoding.DER
_INFO = serialization.PublicFormat.SubjectPublicKeyInfo
ALGORITHMS = (
    "none",
    "None",
    "NONE",
    "nOnE",
    "",
    None,
    [],
    {},
    5,
    True,
    GONE,
    "es256",
    "PS256",
    "ES384",
    "dir",
)
KIDS = (
    "unknown",
    "../../etc/passwd",
    "' OR 1=1--",
    "|id",
    "k" * 2000,
    5,
    None,
    ["a"],
    GONE,
    "a\0b",
    "../active.pem",
)
TYPES = ("JWT", "id_token", ["at+jwt"], GONE, "dpop+jwt", "")
TIMES: tuple[Any, ...] = (GONE, None, "1", 1.5, True, [1], -1)
OTHERS: dict[str, Any] = {
    "crit": ["exp"], "b64": False, "zip": "DEF", "cty": "JWT", "enc": "A256GCM", "x5c": ["MIIB"], "p2c": 10**9,
}  # fmt: skip
UNSIGNED: dict[str, Forge] = {
    **{f"alg {each!r}"[:40]: _header(alg=each) for each in ALGORITHMS},
    **{f"kid {each!r}"[:40]: _header(kid=each) for each in KIDS},
    **{f"typ {each!r}": _header(typ=each) for each in TYPES},
    **{f"a header {name}": _header(**{name: value}) for name, value in OTHERS.items()},
    "a kid that is an address": lambda f: f.token({"kid": f.trap}),
    "a jku of theirs": lambda f: f.token({"jku": f.trap}),
    "a jku of ours": lambda f: f.token({"jku": f"{f.service.url}/.well-known/jwks.json"}),
    "an x5u": lambda f: f.token({"x5u": f.trap}),
    "an embedded key": lambda f: f.token({"jwk": f.key.verifying.jwk()}),
    "HS256 with the PEM": lambda f: f.hs256(f.public(_PEM, _INFO)),
    "HS256 with the DER": lambda f: f.hs256(f.public(_DER, _INFO)),
    "HS256 with the JWK": lambda f: f.hs256(json.dumps(f.key.verifying.jwk()).encode()),
    "HS256 with the point": lambda f: f.hs256(f.public(_X962, _POINT)),
    "RS256": _own_rsa,
    "another key": _raw(lambda f, m: f.es256(m + b"x")),
    "a zero signature": _raw(lambda f, m: bytes(64)),
    "a DER signature": _raw(lambda f, m: f.private.sign(m, ec.ECDSA(SHA256()))),
    "r is zero": _numbers(lambda r, s: (0, s)),
    "s is zero": _numbers(lambda r, s: (r, 0)),
    "r is the order": _numbers(lambda r, s: (ORDER, s)),
    "s is the order": _numbers(lambda r, s: (r, ORDER)),
    "a cut signature": _raw(lambda f, m: f.es256(m)[:-1]),
    "a longer signature": _raw(lambda f, m: f.es256(m) + b"\0"),
    "a flipped bit": _numbers(lambda r, s: (r ^ 1, s)),
    "no signature": _raw(lambda f, m: b""),
    "alg twice": lambda f: f.signed(f.header()[:-1] + ', "alg": "none"}', f.claims()),
    "sub twice": lambda f: f.signed(f.header(), f.claims()[:-1] + f', "sub": "{f.client_id}"}}'),
    "a list of claims": lambda f: f.signed(f.header(), "[]"),
    "claims that are a text": lambda f: f.signed(f.header(), '"a"'),
    "no claims": lambda f: f.signed(f.header(), "null"),
    "empty claims": lambda f: f.signed(f.header(), ""),
    "claims in UTF-16": lambda f: f.signed(f.header(), f.claims().encode("utf-16")),
    "claims with a mark": lambda f: f.signed(f.header(), b"\xef\xbb\xbf" + f.claims().encode()),
    "deep claims": lambda f: f.signed(f.header(), "[" * 900 + "]" * 900),
    "a number of 2,000 digits": lambda f: f.signed(f.header(), f.claims()[:-1] + ', "x": ' + "9" * 2000 + "}"),
    "an exp of 400 digits": lambda f: f.token(exp=10**400),
    "4,097 bytes": lambda f: f.token(scope=" ".join(["predict", *(f"{n:0>97}" for n in range(40))])),
    "20 kB": lambda f: f.token() + "A" * 20_000,
    "points only": lambda f: "." * 20_000,
    "two parts": lambda f: f.token().rpartition(".")[0],
    "four parts": lambda f: f.token() + ".a",
    "five parts": lambda f: f.token() + ".a.b",
    "JSON": lambda f: json.dumps({"payload": f.token()}).replace(" ", ""),
    "padding": lambda f: f.token() + "=",
    "two tokens": lambda f: f"{f.token()} {f.token()}",
    "a token in a token": lambda f: f.signed(f.header(cty=GONE), f.token()),
    "not ASCII": lambda f: "é.é.é",
}  # fmt: skip
DEAD: dict[str, Forge] = {  # with a signature that is good
    **{f"exp {each!r}"[:30]: _claim(exp=each) for each in TIMES},
    **{f"{name} {each!r}": _claim(**{name: each}) for name in ("nbf", "iat") for each in (True, "1")},
    "expired": lambda f: f.token(iat=int(time.time()) - 600, exp=int(time.time()) - 60),
    "nbf in the future": _later("nbf", 120),
    "iat in the future": _later("iat", 120),
    "a life too long": _later("exp", 86_400),
    "another audience": _claim(aud="https://elsewhere.example"),
    "no audience": _claim(aud=GONE),
    "no issuer": _claim(iss=GONE),
    "a list with our audience": lambda f: f.token(aud=[f.service.url]),
    "an audience in capitals": lambda f: f.token(aud=f.service.url.upper()),
    "an issuer with a slash": lambda f: f.token(iss=f.service.url + "/"),
}  # fmt: skip
ILL_NAMED: dict[str, Forge] = {
    **{
        f"sub {each!r}"[:30]: _claim(sub=each, client_id=each)
        for each in (5, None, "", "a\0b", "é", "x" * 129)
    },
    "jti empty": _claim(jti=""),
    **{f"scope {each!r}": _claim(scope=each) for each in (5, ["predict"], "predict  x", "a\tb", "predict ")},
    "sub of another": _claim(sub="admin"),
}
