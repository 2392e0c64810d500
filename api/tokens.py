"""`/oauth/token` and what the world may know about it: client credentials (RFC 6749, 4.4), keys, metadata.

Errors of the token endpoint are RFC 6749 JSON, not problems: OAuth clients read nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from api.authority import Authority
from api.calls import Answer, Call
from api.problems import RequestRefused
from api.settings import Settings
from db.clients import Client

MAX_FIELDS = 20
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_KEYS_CACHED = {"Cache-Control": "public, max-age=300"}


class Authenticate(Protocol):
    """Looks a client up by id and secret; None when unknown, wrong or disabled, after the same work."""

    def __call__(self, client_id: str, secret: str) -> Client | None: ...


class TokenRequestRefused(Exception):
    """A request for a token breaks a rule of RFC 6749; `error` is the rule's name."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error, self.description = error, description

    def answer(self) -> Answer:
        """Say it the way OAuth clients read it (RFC 6749, 5.2)."""
        content = {"error": self.error, "error_description": self.description}
        if self.error != "invalid_client":
            return Answer(status=400, content=content, headers=_NO_STORE)
        return Answer(
            status=401, content=content, headers={**_NO_STORE, "WWW-Authenticate": 'Basic realm="onrecord"'}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Issues tokens and shows the public side of how."""

    authority: Authority
    authenticate: Authenticate
    scopes: tuple[str, ...]
    settings: Settings
    clock_s: Callable[[], int]

    def issue(self, call: Call) -> Answer:
        """Give a token to a client that proves who it is, for no more than it is registered for."""
        try:
            form = _form(call.raw)
            client = self._client(form, call.headers)
            scope = _granted(client, form.get("scope"))
        except TokenRequestRefused as refused:
            return refused.answer()
        token = self.authority.sign(client.client_id, scope, self.clock_s())
        content = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.authority.lifetime_s,
            "scope": scope,
        }
        return Answer(content=content, headers=_NO_STORE)

    def keys(self, _call: Call) -> Answer:
        """Show the public keys."""
        content = {"keys": self.authority.published(self.clock_s())}
        return Answer(content=content, media_type="application/jwk-set+json", headers=_KEYS_CACHED)

    def metadata(self, _call: Call) -> Answer:
        """Show the addresses, from the configuration and never from the request's Host."""
        issuer = self.settings.public_url
        content = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/oauth/token",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "scopes_supported": list(self.scopes),
            # Required by RFC 8414, 2, though no authorization endpoint exists.
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
        return Answer(content=content, headers=_KEYS_CACHED)

    def _client(self, form: Mapping[str, str], headers: Mapping[str, str]) -> Client:
        client_id, secret = _credentials(form, headers)
        # What cannot be an id is looked up as none: the same work, and nothing odd reaches the database.
        client = self.authenticate(client_id if _CLIENT_ID.fullmatch(client_id) else "", secret)
        if client is None:
            raise TokenRequestRefused("invalid_client", "the client is unknown or its secret is wrong")
        # After the client: a stranger learns nothing about what is supported that the metadata does not say.
        grant = form.get("grant_type")
        if grant is None:
            raise TokenRequestRefused("invalid_request", "grant_type is missing")
        if grant != "client_credentials":
            raise TokenRequestRefused("unsupported_grant_type", "only client_credentials is supported")
        return client


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Stands in for `Tokens` where another issuer's tokens are believed: this service then gives out none."""

    issuer: str

    def issue(self, _call: Call) -> Answer:
        """Say where to go."""
        return TokenRequestRefused("invalid_request", f"tokens are issued by {self.issuer}").answer()

    def keys(self, _call: Call) -> Answer:
        """Publish no keys: none of ours signs tokens."""
        raise RequestRefused("not-found", f"tokens are issued by {self.issuer}, which publishes its keys")

    def metadata(self, _call: Call) -> Answer:
        """Publish no metadata: the issuer does."""
        raise RequestRefused("not-found", f"tokens are issued by {self.issuer}, which describes itself")


def _form(raw: bytes) -> dict[str, str]:
    """Read the form; a name without a value counts as absent, a name given twice is refused (RFC 6749, 3.2)."""
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as wrong:
        raise TokenRequestRefused("invalid_request", "the body is not a form") from wrong
    if len({name for name, _ in pairs}) != len(pairs):
        raise TokenRequestRefused("invalid_request", "a parameter is given more than once")
    return {name: value for name, value in pairs if value}


def _credentials(form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    """Take the client's id and secret from HTTP Basic or from the form, never from both."""
    header = headers.get("authorization")
    if header is None:
        if "client_id" not in form or "client_secret" not in form:
            raise TokenRequestRefused("invalid_client", "authenticate with HTTP Basic or in the form")
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise TokenRequestRefused("invalid_request", "authenticate with HTTP Basic or in the form, not both")
    client_id, secret = _basic(header)
    if form.get("client_id", client_id) != client_id:
        raise TokenRequestRefused("invalid_request", "the form names another client than HTTP Basic")
    return client_id, secret


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    if scheme.lower() != "basic" or ":" not in text:
        raise TokenRequestRefused("invalid_client", "the header Authorization is not HTTP Basic")
    client_id, _, secret = text.partition(":")
    # RFC 6749, 2.3.1: each is form-encoded before Base64.
    return unquote_plus(client_id), unquote_plus(secret)


def _granted(client: Client, wanted: str | None) -> str:
    if wanted is None:
        return " ".join(sorted(client.scope))
    names: list[Any] = wanted.split(" ")
    if not set(names) <= client.scope or len(set(names)) != len(names):
        raise TokenRequestRefused("invalid_scope", "ask only for scopes the client has, each once")
    return " ".join(names)
