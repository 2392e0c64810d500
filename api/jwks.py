"""Keys as tokens name them: an algorithm for each, an id that is its own thumbprint, and JWKs of public halves.

A key is used with one algorithm, which is stored with it and never read from a token (RFC 8725, 3.1); there is no
symmetric one. Source: RFC 7517 (JWK), RFC 7518 section 6, RFC 7638 (thumbprints).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ES256, RS256 = "ES256", "RS256"
ALGORITHMS = (ES256, RS256)  # that we sign with
RSA_BITS = 3072  # 128 bits of strength, as P-256 has (NIST SP 800-57, table 2)
MOST_REGISTERED, LONGEST_KID = 8, 128
VERIFIED = ("EdDSA", "ES256", "ES384", "PS256", "RS256")  # algorithms of keys that others publish
FEWEST_RSA_BITS, MOST_RSA_BITS = 2048, 8192  # of keys that others publish
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384"}

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class NoKey(ValueError):
    """What was to be a key is none, or none that may sign tokens; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, the one algorithm it is used with, and the id that tokens name it by."""

    public: PublicKey = field(hash=False)  # compared, but it has no hash
    algorithm: str
    kid: str

    def jwk(self) -> dict[str, str]:
        """Show it to the world."""
        return {**_members(self.public, self.algorithm), "kid": self.kid, "use": "sig", "alg": self.algorithm}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the public half that verifies what it signs."""

    private: PrivateKey
    verifying: VerifyingKey

    @classmethod
    def of(cls, private: object) -> SigningKey:
        """Take a P-256 key for ES256 or an RSA key of 3072 bits or more for RS256; NoKey for anything else."""
        if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
            return cls(private, _named(private.public_key(), ES256))
        if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= RSA_BITS:
            return cls(private, _named(private.public_key(), RS256))
        raise NoKey(f"is neither a P-256 key nor an RSA key of {RSA_BITS} bits or more")

    @classmethod
    def of_pem(cls, pem: bytes) -> SigningKey:
        """Read PKCS 8 without a password; NoKey for what is no such key."""
        try:
            return cls.of(serialization.load_pem_private_key(pem, password=None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as refused:
            raise (
                refused if isinstance(refused, NoKey) else NoKey("is not a private key in PEM")
            ) from refused


def new_pem(algorithm: str) -> bytes:
    """Make a private key for one of ALGORITHMS."""
    private: PrivateKey = (
        rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        if algorithm == RS256
        else ec.generate_private_key(ec.SECP256R1())
    )
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_set(content: object) -> dict[str, VerifyingKey]:
    """Take from somebody else's JWK set what can verify signatures, by the id its issuer gave it.

    Keys for encryption, of other types, without an id, or too weak are passed over: sets of others hold them, too.

    Raises:
        NoKey: it is no JWK set, or nothing in it can be used.
    """
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list):
        raise NoKey("is not a JWK set: an object with a list `keys`")
    found = {key.kid: key for each in keys if (key := _read(each)) is not None}
    if not found:
        raise NoKey("holds no key that verifies signatures")
    return found


def read_registered(content: object) -> dict[str, list[dict[str, str]]]:
    """Take a client's own JWK set and write its public members anew; every key in it has to be of use.

    Raises:
        NoKey: naming the first key that is not, or what is wrong with the set.
    """
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or len(keys) > MOST_REGISTERED:
        raise NoKey(f"is not a JWK set: an object with a list `keys` of {MOST_REGISTERED} at most")
    found: dict[str, dict[str, str]] = {}
    for at, each in enumerate(keys):
        key = _read(each)
        if key is None or len(key.kid) > LONGEST_KID:
            raise NoKey(
                f"holds no public key at /keys/{at} that verifies signatures: EC (P-256, P-384), RSA (2048 to 8192 "
                "bits) or Ed25519, with a kid, and with an alg that fits it or none"
            )
        if key.kid in found:
            raise NoKey(f"names two keys {key.kid!r}")
        found[key.kid] = key.jwk()
    return {"keys": list(found.values())}


def _read(jwk: object) -> VerifyingKey | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not kid:
        return None
    try:
        public = jwt.PyJWK(jwk, jwk.get("alg") or _guess(jwk)).key
        algorithm = _algorithm(public, jwk.get("alg"))
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return VerifyingKey(public, algorithm, kid)


def _guess(jwk: Mapping[str, Any]) -> str:
    return {"RSA": "RS256", "OKP": "EdDSA"}.get(
        jwk["kty"], {"P-384": "ES384"}.get(jwk.get("crv", ""), "ES256")
    )


def _algorithm(public: object, wanted: object) -> str:
    """Decide the one algorithm of a key; a private or symmetric key in a set raises NoKey."""
    match public:
        case ec.EllipticCurvePublicKey():
            fitting = [_CURVES[public.curve.name]]
        case rsa.RSAPublicKey() if FEWEST_RSA_BITS <= public.key_size <= MOST_RSA_BITS:
            fitting = ["RS256", "PS256"]
        case ed25519.Ed25519PublicKey():
            fitting = ["EdDSA"]
        case _:
            raise NoKey("cannot verify tokens")
    algorithm = fitting[0] if wanted is None else wanted
    if not isinstance(algorithm, str) or algorithm not in fitting:
        raise NoKey("is not used with its algorithm")
    return algorithm


def _named(public: PublicKey, algorithm: str) -> VerifyingKey:
    members = _members(public, algorithm)
    required = orjson.dumps({name: members[name] for name in _THUMBPRINT[members["kty"]]})
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(required).digest()).rstrip(b"=").decode()
    return VerifyingKey(public, algorithm, thumbprint)


def _members(public: PublicKey, algorithm: str) -> dict[str, str]:
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    return {name: value for name, value in made.items() if name != "key_ops"}
