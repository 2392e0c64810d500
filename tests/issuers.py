"""Another issuer, as Keycloak is one: the keys it publishes, the tokens it signs, and a server of it in a thread."""

from __future__ import annotations

import base64
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from uuid import uuid4

import jwt

from api.jwks import SigningKey, new_pem

ISSUER = "https://sso.example/realms/bank"
AUDIENCE = "onrecord"
NOW = 1_800_000_000
KEYS = {algorithm: SigningKey.of_pem(new_pem(algorithm)) for algorithm in ("RS256", "ES256")}


def key_set(*keys: SigningKey) -> dict[str, Any]:
    """Publish keys as Keycloak does: beside one for encryption, with certificates."""
    encryption = {"kid": "enc-1", "kty": "RSA", "alg": "RSA-OAEP", "use": "enc", "n": "AQAB", "e": "AQAB"}
    return {"keys": [encryption, *({**each.verifying.jwk(), "x5t": "AAAA"} for each in keys)]}


def token(
    algorithm: str = "RS256", at_s: int = NOW, header: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Sign what Keycloak writes for a client with a service account."""
    claims = {
        "iss": ISSUER, "aud": [AUDIENCE, "account"], "sub": "7d0c5f1e-2f8b-4a53-9d2e-1b7a", "azp": "loans",
        "typ": "Bearer", "scope": "profile predict models:read", "iat": at_s, "exp": at_s + 300,
        "jti": "trrtcc:0f3a", "acr": "1", "realm_access": {"roles": ["offline_access"]},
    } | changes  # fmt: skip
    key = KEYS[algorithm]
    kept = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(kept, key.private, algorithm, {"typ": "JWT", "kid": key.verifying.kid} | (header or {}))


class Issues(BaseHTTPRequestHandler):
    """An issuer as a server: its metadata, its keys, and tokens for a client that proves who it is."""

    asked: ClassVar[list[str]] = []  # with which credentials

    @property
    def name(self) -> str:
        return f"http://{self.headers['Host']}/realms/bank"

    def do_GET(self) -> None:  # the name that http.server looks for
        metadata = {"issuer": self.name, "token_endpoint": f"{self.name}/token"}
        self._answer(200, metadata if self.path.endswith("openid-configuration") else key_set(*KEYS.values()))

    def do_POST(self) -> None:  # as above
        form = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.headers["Authorization"])
        known = f"Basic {base64.b64encode(b'loans:s3%2Fcret').decode()}"
        if (self.headers["Authorization"], form) != (known, b"grant_type=client_credentials"):
            self._answer(401, {"error": "invalid_client"})
            return
        scope = "profile predict predictions:read models:read"
        issued = token(at_s=int(time.time()), iss=self.name, scope=scope, jti=uuid4().hex)
        self._answer(200, {"access_token": issued})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return
