"""A client that signs who it is, by hand: every byte of its assertions can be wrong."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.service import Caller, Service

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_NOT_KNOWN = "the client is unknown, or what should prove it is wrong"
_SETTLED_WITHIN_S = 60  # an engine that has just started takes nothing signed before it could know of it
GRANT = {"grant_type": "client_credentials"}


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: ec.EllipticCurvePrivateKey, kid: str = "k1") -> dict[str, Any]:
    """Show its public half as a client would register it."""
    made = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(
        key.public_key(), as_dict=True
    )
    return {**{name: value for name, value in made.items() if name != "key_ops"}, "kid": kid, "alg": "ES256"}


@dataclass
class SigningClient:
    """One client of a service with the private key it is known by."""

    url: str
    client_id: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Say who it is, good for half a minute; `...` leaves a claim away."""
        now = int(time.time())
        good = {
            "iss": self.client_id, "sub": self.client_id, "aud": self.url,
            "iat": now, "exp": now + 30, "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        return {name: value for name, value in (good | changes).items() if value is not ...}

    def assertion(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Sign it."""
        return jwt.encode(self.claims(**changes), self.key, "ES256", {"kid": "k1", **(header or {})})

    def ask(self, assertion: str, what: str = "token", **form: str) -> httpx.Response:
        """Ask with an assertion, over a connection of its own, which any door may take."""
        sent = {**GRANT, "client_assertion_type": TYPE, "client_assertion": assertion, **form}
        return httpx.post(f"{self.url}/oauth/{what}", data=sent, timeout=30)


def by_hand(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """Write a JWT with any header and any signature."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def settled(client: SigningClient) -> None:
    """Wait until the engine can tell what was used before it started."""
    until = time.monotonic() + _SETTLED_WITHIN_S
    while (answer := client.ask(client.assertion())).status_code == 503:
        assert answer.headers["retry-after"]
        assert time.monotonic() < until
        time.sleep(0.5)
    assert answer.status_code == 200, answer.text


def registered(service: Service, admin: Caller, scope: str = "models:read introspect") -> SigningClient:
    """Register a client that has no secret."""
    key = new_key()
    body = {"name": "signer", "scope": scope, "jwks": {"keys": [jwk_of(key)]}}
    answer = admin.http.post("/v1/clients", json=body)
    assert answer.status_code == 201, answer.text
    assert "client_secret" not in answer.json()
    return SigningClient(service.url, answer.json()["client_id"], key)


def is_unknown(answer: httpx.Response) -> bool:
    """Say whether it was refused exactly like a wrong secret."""
    wanted = {"error": "invalid_client", "error_description": _NOT_KNOWN}
    return (answer.status_code, answer.json()) == (401, wanted)
