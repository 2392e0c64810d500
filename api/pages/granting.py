"""How a page gets a token for who gives an id and a secret: of this service, or of the issuer that it believes.

Another issuer's token endpoint is found by the issuer's own metadata (OpenID Connect Discovery 1.0, 4; RFC 8414, 3) and
asked with client credentials. The secret goes there, once, and is kept nowhere. Who guesses is counted as at our own
`/oauth/token`, by address: the issuer sees only the door's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import flask
import httpx
import orjson

from api import denials
from api.calls import Answer, Claims
from api.jwts import TokenRefused
from api.pages import session
from api.pages.calling import Question, ask, wait
from api.settings import Settings
from api.throttle import Failures

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
WITHIN_S = 5.0
AT_ONCE = 2  # of a door's eight threads for pages; an issuer that hangs leaves the others free
MAX_BYTES = 64 << 10
MAX_TOKEN = 2_600  # characters: sealed, that is what browsers keep in one cookie
_EXTENSION = "onrecord-issuer"
_FAILURES = "onrecord-failures"


class GrantRefused(Exception):
    """The issuer gave no token that can be used here; says why, for who signs in. `status` is the page's."""

    def __init__(self, said: str, status: int = 503) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A token and what it is good for."""

    token: str
    client_id: str
    scope: str
    expires_in: int


class Issuer:
    """Another issuer, asked over the network; `audience` is whom its tokens must name."""

    def __init__(self, url: str, audience: str) -> None:
        self.url, self.audience = url, audience
        self._turns = threading.Semaphore(AT_ONCE)

    def token(self, client_id: str, secret: str) -> str:
        """Have the issuer give a token for this client; raises GrantRefused."""
        with self._turn(), httpx.Client(timeout=WITHIN_S, follow_redirects=False) as http:
            try:
                content = self._granted(http, self._metadata(http), client_id, secret)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as failed:
                raise GrantRefused(
                    f"{self.url} does not answer as an issuer of tokens; try later"
                ) from failed
        token = content.get("access_token")
        if not isinstance(token, str):
            raise GrantRefused(f"{self.url} answered without a token")
        if len(token) > MAX_TOKEN:
            said = f"The token is too long for a cookie ({len(token)} characters, {MAX_TOKEN} at most)"
            raise GrantRefused(f"{said}; let the issuer put less into it", 400)
        return token

    def _metadata(self, http: httpx.Client) -> dict[str, Any]:
        parts = urlsplit(self.url)
        places = (
            f"{self.url}/.well-known/openid-configuration",
            f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}",
        )
        for place in places:
            found = http.get(place)
            if found.status_code == 200:
                return self._checked(_json(found))
        raise ValueError("no metadata")

    def _checked(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Believe metadata that names this issuer (RFC 8414, 3.3), and no way that is less safe than its own."""
        endpoint = urlsplit(str(metadata.get("token_endpoint")))
        schemes = ("https",) if self.url.startswith("https:") else ("https", "http")
        if metadata.get("issuer") != self.url or endpoint.scheme not in schemes:
            raise ValueError("metadata of another issuer")
        return metadata

    def _granted(
        self, http: httpx.Client, metadata: dict[str, Any], client_id: str, secret: str
    ) -> dict[str, Any]:
        form = {"grant_type": "client_credentials"}
        # Both are form-encoded before Base64 (RFC 6749, 2.3.1).
        auth: tuple[str, str] | None = quote_plus(client_id), quote_plus(secret)
        ways = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" not in ways:
            form, auth = {**form, "client_id": client_id, "client_secret": secret}, None
        answer = http.post(
            metadata["token_endpoint"],
            content=urlencode(form),
            headers=FORM,
            auth=auth or httpx.USE_CLIENT_DEFAULT,
        )
        if answer.status_code in (400, 401, 403):
            said = f"{self.url} gives this client no token: the id or the secret is wrong, or it may not have one"
            raise GrantRefused(said, 401)
        answer.raise_for_status()
        return _json(answer)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=WITHIN_S):
            raise GrantRefused(f"Too many sign in by {self.url} right now; try again in a moment")
        try:
            yield
        finally:
            self._turns.release()


def install(pages: flask.Flask, settings: Settings, failures: Failures) -> None:
    """Let the pages of an application sign in, by the issuer that the operator names or by this service."""
    pages.extensions[_EXTENSION] = Issuer(settings.issuer, settings.audience) if settings.issuer else None
    pages.extensions[_FAILURES] = failures


def issuer() -> Issuer | None:
    """Name the issuer in whose place this service gives no tokens; None where it gives its own."""
    found: Issuer | None = flask.current_app.extensions[_EXTENSION]
    return found


def granted(client_id: str, secret: str, *, is_of_pages: bool = False) -> Granted:
    """Get a token; for who sits in front of a page, or for the pages themselves, which is no visitor's attempt.

    Raises:
        ApiRefused: this service gives none.
        GrantRefused: another issuer does not.
        RequestRefused: too many attempts of this address failed.
    """
    if (other := issuer()) is not None:
        with contextlib.nullcontext() if is_of_pages else _counted():
            return _believed(other, other.token(client_id, secret))
    # In the form and not in a header: both may be any text.
    body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    answer = ask(
        Question(
            method="POST",
            path="/oauth/token",
            body=urlencode(body).encode(),
            headers=FORM,
            is_of_pages=is_of_pages,
        )
    ).content
    return Granted(
        token=answer["access_token"],
        client_id=client_id,
        scope=answer["scope"],
        expires_in=answer["expires_in"],
    )


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """Send no secret of an address that failed too often; count who fails now, and note it as a security event."""
    failures: Failures = flask.current_app.extensions[_FAILURES]
    scope = flask.request.environ["asgi.scope"]
    address = scope["client"][0] if scope["client"] else None
    try:
        if address is not None:
            failures.refuse(address)
        yield
    except GrantRefused as refused:
        if refused.status == 401:
            event = denials.token_refused("invalid_client", None)
            scope["extensions"][denials.TOLD] = None, Answer(content=b"", status=401, event=event)
            if address is not None:
                wait(failures.count(address))
        raise


def _believed(other: Issuer, token: str) -> Granted:
    try:
        claims: Claims = session.believe(token)
    except TokenRefused as refused:
        said = f"{other.url} gave a token that this service does not believe; it must be for {other.audience}"
        raise GrantRefused(f"{said}, and name its client and scope") from refused
    return Granted(
        token=token,
        client_id=claims.client_id,
        scope=" ".join(sorted(claims.scopes)),
        expires_in=claims.expires_at_s - int(time.time()),
    )


def _json(answer: httpx.Response) -> dict[str, Any]:
    if len(answer.content) > MAX_BYTES:
        raise ValueError("too long")
    found = orjson.loads(answer.content)
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004  # what is wrong is the content
    return found
