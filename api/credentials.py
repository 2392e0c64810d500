"""How a client proves who it is at the `/oauth/` addresses, and how it is told what was wrong (RFC 6749, 2.3 and 5.2).

Errors here are RFC 6749 JSON, not problems: OAuth clients read nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, unquote_plus

from api import denials
from api.calls import Answer, Call
from db.clients import Client

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FIELDS = 20
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Authenticate(Protocol):
    """Looks a client up by id and secret; None when unknown, wrong or disabled, after the same work."""

    def __call__(self, client_id: str, secret: str) -> Client | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a client can prove who it is: with a secret, or by signing."""

    by_secret: Authenticate
    by_assertion: Callable[[str], Client | None]


class OAuthRefused(Exception):
    """A request of an OAuth client breaks a rule of RFC 6749; `error` is the rule's name."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error, self.description = error, description

    def answer(self, client: Client | None = None) -> Answer:
        """Say it the way OAuth clients read it (RFC 6749, 5.2); `client` is who has proved to ask."""
        content = {"error": self.error, "error_description": self.description}
        event = denials.token_refused(self.error, client.client_id if client else None)
        if self.error != "invalid_client":
            return Answer(status=400, content=content, headers=NO_STORE, event=event)
        headers = {**NO_STORE, "WWW-Authenticate": 'Basic realm="onrecord"'}
        return Answer(status=401, content=content, headers=headers, event=event)


def authenticated(call: Call, ways: Ways) -> tuple[Client, dict[str, str]]:
    """Return the client that a form comes from, and the form.

    Raises:
        OAuthRefused: the form breaks a rule, or nobody has proved to be a client.
    """
    form = read_form(call.raw)
    if "client_assertion" in form or "client_assertion_type" in form:
        return _signed(form, call.headers, ways), form
    client_id, secret = _credentials(form, call.headers)
    # What cannot be an id is looked up as none: the same work, and nothing odd reaches the database.
    client = ways.by_secret(client_id if _CLIENT_ID.fullmatch(client_id) else "", secret)
    if client is None:
        raise _unknown()
    return client, form


def read_form(raw: bytes) -> dict[str, str]:
    """Read the form; a name without a value counts as absent, a name given twice is refused (RFC 6749, 3.2)."""
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as wrong:
        raise OAuthRefused("invalid_request", "the body is not a form") from wrong
    if len({name for name, _ in pairs}) != len(pairs):
        raise OAuthRefused("invalid_request", "a parameter is given more than once")
    return {name: value for name, value in pairs if value}


def _signed(form: Mapping[str, str], headers: Mapping[str, str], ways: Ways) -> Client:
    """Know a client by its assertion (RFC 7521, 4.2), and by nothing beside it."""
    if "authorization" in headers:
        _basic(headers["authorization"])  # what is no attempt to authenticate here is no second one
    if "authorization" in headers or "client_secret" in form:
        raise OAuthRefused("invalid_request", "authenticate in one way, by an assertion or with a secret")
    if form.get("client_assertion_type") != ASSERTION_TYPE or "client_assertion" not in form:
        detail = f"send client_assertion, and client_assertion_type={ASSERTION_TYPE}"
        raise OAuthRefused("invalid_request", detail)
    client = ways.by_assertion(form["client_assertion"])
    if client is None or form.get("client_id", client.client_id) != client.client_id:
        raise _unknown()
    return client


def _unknown() -> OAuthRefused:
    return OAuthRefused("invalid_client", "the client is unknown, or what should prove it is wrong")


def _credentials(form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    """Take the client's id and secret from HTTP Basic or from the form, never from both."""
    header = headers.get("authorization")
    if header is None:
        if "client_id" not in form or "client_secret" not in form:
            raise OAuthRefused("invalid_client", "authenticate with HTTP Basic or in the form")
        return form["client_id"], form["client_secret"]
    client_id, secret = _basic(header)
    if "client_secret" in form:
        raise OAuthRefused("invalid_request", "authenticate with HTTP Basic or in the form, not both")
    if form.get("client_id", client_id) != client_id:
        raise OAuthRefused("invalid_request", "the form names another client than HTTP Basic")
    return client_id, secret


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    if scheme.lower() != "basic" or ":" not in text:
        raise OAuthRefused("invalid_client", "the header Authorization is not HTTP Basic")
    client_id, _, secret = text.partition(":")
    # RFC 6749, 2.3.1: each is form-encoded before Base64.
    return unquote_plus(client_id), unquote_plus(secret)
