"""`/oauth/` and what the world may know about it: client credentials (RFC 6749, 4.4), revocation (RFC 7009),
introspection (RFC 7662), keys, metadata.

Errors of these endpoints are RFC 6749 JSON, not problems: OAuth clients read nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from api import denials
from api.authority import Authority
from api.callers import Callers
from api.calls import Answer, Call, Claims
from api.changing import Changing
from api.credentials import NO_STORE, OAuthRefused, Ways, authenticated, read_form
from api.jwks import VERIFIED
from api.jwts import TokenRefused, new_jti
from api.keyring import LEEWAY_S
from api.problems import RequestRefused
from api.settings import Settings
from db.clients import Client

INTROSPECT = "introspect"
_KEYS_CACHED = {"Cache-Control": "public, max-age=300"}
_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Issues tokens, takes them back, and shows the public side of how."""

    authority: Authority
    ways: Ways
    callers: Callers
    changing: Changing
    scopes: tuple[str, ...]
    settings: Settings
    clock_s: Callable[[], int]

    def issue(self, call: Call) -> Answer:
        """Give a token to a client that proves who it is, for no more than it is registered for."""
        client = None
        try:
            client, form = authenticated(call, self.ways)
            scope = _granted(client, form)
        except OAuthRefused as refused:
            return refused.answer(client)
        self.callers.seen(client.client_id)
        jti = new_jti()
        token = self.authority.sign(client.client_id, scope, self.clock_s(), jti)
        content = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.authority.lifetime_s,
            "scope": scope,
        }
        event = denials.token_given(client.client_id, scope, jti)
        return Answer(content=content, headers=NO_STORE, event=event)

    async def revoke(self, call: Call) -> Answer:
        """Void a token of the client's own; about any other text nothing is said and done (RFC 7009, 2.2)."""
        if (own := by_itself(call, self.callers)) is not None:
            return await voided(own, self.changing, self.callers)
        try:
            client, claims = await anyio.to_thread.run_sync(self._asked_about, call)
        except OAuthRefused as refused:
            return refused.answer()
        if claims is not None and claims.client_id == client.client_id:
            is_every = read_form(call.raw).get("every") == "true"
            if not is_every:
                return await voided(claims, self.changing, self.callers)
            done = await self.changing.ask("client.revoke", {"client_id": claims.client_id}, claims)
            if done.status >= 400:
                return done
            self.callers.revoke(claims.jti)  # other doors learn of it within seconds
        return Answer(content=b"", headers=NO_STORE)

    def introspect(self, call: Call) -> Answer:
        """Tell a client with the scope `introspect` what a token is good for; of any that is not, only that."""
        try:
            client, claims = self._asked_about(call)
        except OAuthRefused as refused:
            return refused.answer()
        if INTROSPECT not in client.scope:
            header = f'Bearer realm="onrecord", error="insufficient_scope", scope="{INTROSPECT}"'
            forbidden = RequestRefused(
                "forbidden", f"this needs the scope {INTROSPECT}", WWW_Authenticate=header
            )
            raise forbidden.tell(client_id=client.client_id, held=" ".join(sorted(client.scope)))
        content: dict[str, Any] = {"active": claims is not None}
        if claims is not None:
            content |= {
                "iss": self.authority.profile.issuer,
                "aud": self.authority.profile.audience,
                "sub": claims.client_id,
                "client_id": claims.client_id,
                "scope": " ".join(sorted(claims.scopes)),
                "token_type": "Bearer",
                "iat": claims.issued_at_s,
                "exp": claims.expires_at_s,
                "jti": claims.jti,
            }
        return Answer(content=content, headers=NO_STORE)

    def keys(self, _call: Call) -> Answer:
        """Show the public keys."""
        content = {"keys": self.authority.published(self.clock_s())}
        return Answer(content=content, media_type="application/jwk-set+json", headers=_KEYS_CACHED)

    def metadata(self, _call: Call) -> Answer:
        """Show the addresses, from the configuration and never from the request's Host."""
        issuer = self.settings.public_url
        content: dict[str, Any] = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/oauth/token",
            "revocation_endpoint": f"{issuer}/oauth/revoke",
            "introspection_endpoint": f"{issuer}/oauth/introspect",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "scopes_supported": list(self.scopes),
            # Required by RFC 8414, 2, though no authorization endpoint exists.
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
        }
        for endpoint in ("token", "revocation", "introspection"):
            content[f"{endpoint}_endpoint_auth_methods_supported"] = _METHODS
            content[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = list(VERIFIED)
        return Answer(content=content, headers=_KEYS_CACHED)

    def _asked_about(self, call: Call) -> tuple[Client, Claims | None]:
        """Return who asks, and what the token they ask about is good for: None where it is good for nothing."""
        client, form = authenticated(call, self.ways)
        if "token" not in form:
            raise OAuthRefused("invalid_request", "token is missing")
        try:
            return client, self.callers.believe(form["token"])
        except TokenRefused:
            return client, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Stands in for `Tokens` where another issuer's tokens are believed: this service then gives out none."""

    issuer: str
    callers: Callers
    changing: Changing

    def issue(self, _call: Call) -> Answer:
        """Say where to go."""
        return OAuthRefused("invalid_request", f"tokens are issued by {self.issuer}").answer()

    introspect = issue

    async def revoke(self, call: Call) -> Answer:
        """Believe a token no more that asks for it itself; what else there is to take back, the issuer has given."""
        own = by_itself(call, self.callers)
        return self.issue(call) if own is None else await voided(own, self.changing, self.callers)

    def keys(self, _call: Call) -> Answer:
        """Publish no keys: none of ours signs tokens."""
        raise RequestRefused("not-found", f"tokens are issued by {self.issuer}, which publishes its keys")

    def metadata(self, _call: Call) -> Answer:
        """Publish no metadata: the issuer does."""
        raise RequestRefused("not-found", f"tokens are issued by {self.issuer}, which describes itself")


def by_itself(call: Call, callers: Callers) -> Claims | None:
    """Return what a token is good for that is to be voided and proves its holder, None where the two are not one.

    Whoever holds a token can do all that it can, so voiding it takes nothing from anybody. For the client's other
    tokens its secret is asked.
    """
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    try:
        form = read_form(call.raw)
        if scheme.lower() != "bearer" or form != {"token": token}:
            return None
        return callers.believe(token)
    except (OAuthRefused, TokenRefused):
        return None


async def voided(claims: Claims, changing: Changing, callers: Callers) -> Answer:
    """Put on record that a token is void; other doors learn of it within seconds."""
    expires_at_us = (claims.expires_at_s + LEEWAY_S) * 1_000_000
    about = {"jti": claims.jti, "client_id": claims.client_id, "expires_at_us": expires_at_us}
    done = await changing.ask("token.revoke", about, claims)
    if done.status >= 400:
        return done
    callers.revoke(claims.jti)
    return Answer(content=b"", headers=NO_STORE)


def _granted(client: Client, form: Mapping[str, str]) -> str:
    # After the client: a stranger learns nothing about what is supported that the metadata does not say.
    grant, wanted = form.get("grant_type"), form.get("scope")
    if grant is None:
        raise OAuthRefused("invalid_request", "grant_type is missing")
    if grant != "client_credentials":
        raise OAuthRefused("unsupported_grant_type", "only client_credentials is supported")
    if wanted is None:
        return " ".join(sorted(client.scope))
    names = wanted.split(" ")
    if not set(names) <= client.scope or len(set(names)) != len(names):
        raise OAuthRefused("invalid_scope", "ask only for scopes the client has, each once")
    return " ".join(names)
