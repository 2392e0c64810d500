"""Who is signed in: a cookie that only this service can read, and that holds nothing it would not.

Doors share nothing and hold no pen, so there is no table of sessions: the cookie carries the access token, encrypted
and authenticated (Fernet) under a key that is derived for it from the doors' cursor key. It ends when the token does:
what revokes the token ends the session, too, and signing out revokes it: a copy of the cookie is then worth nothing.
The client's secret is in no cookie and no page.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flask
import orjson
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature

from api.calls import Claims
from api.jwts import TokenRefused
from api.problems import RequestRefused
from api.settings import Settings

COOKIE = "onrecord"
_BELIEVE = "onrecord-believe"
# A page is told to sign in again a little before the API would refuse its token in the middle of something.
SPARE_S = 5
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")
MAX_NEXT = 4096


class SignInNeeded(Exception):
    """The page is for who is signed in, and nobody is, or no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The client that is signed in, and what it may do."""

    client_id: str
    scopes: frozenset[str]
    token: str


def install(pages: flask.Flask, settings: Settings, key: bytes, believe: Callable[[str], Claims]) -> None:
    """Keep sessions in encrypted cookies, and the keys of cookie and forms apart from every other.

    `believe` says what a token is good for, and raises TokenRefused where that is nothing.
    """
    pages.extensions[_BELIEVE] = believe
    pages.session_interface = _Sealed(Fernet(base64.urlsafe_b64encode(derived(key, b"pages: session"))))
    pages.config.update(
        SECRET_KEY=derived(key, b"pages: forms"),  # flask-wtf signs the tokens of forms with it
        SESSION_COOKIE_NAME=COOKIE,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https:"),
        SESSION_COOKIE_PATH=settings.root_path or "/",
    )


def derived(key: bytes, purpose: bytes) -> bytes:
    """Derive a key for one purpose from a key for another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"onrecord " + purpose).derive(key)


class _Sealer:
    """Stands where Flask has itsdangerous: writes a session so that only the holder of the key can read it."""

    def __init__(self, fernet: Fernet) -> None:
        self._fernet = fernet

    def dumps(self, content: Mapping[str, Any]) -> str:
        return self._fernet.encrypt(orjson.dumps(dict(content))).decode()

    def loads(self, text: str, max_age: int | None = None) -> Any:
        try:
            return orjson.loads(self._fernet.decrypt(text, ttl=max_age))
        except InvalidToken as invalid:
            raise BadSignature("not a session of ours") from invalid


class _Sealed(SecureCookieSessionInterface):
    def __init__(self, fernet: Fernet) -> None:
        self._sealer = _Sealer(fernet)

    def get_signing_serializer(self, app: flask.Flask) -> Any:  # noqa: ARG002  # as Flask calls it
        return self._sealer


def begin(signed: Signed, expires_in: int) -> None:
    """Sign a client in; whatever was in the session before is gone."""
    flask.session.clear()
    flask.session["client"] = signed.client_id
    flask.session["token"] = signed.token
    flask.session["scope"] = " ".join(sorted(signed.scopes))
    flask.session["until"] = int(time.time()) + expires_in - SPARE_S


def end() -> None:
    """Forget everything; the cookie goes with it."""
    flask.session.clear()


def signed() -> Signed | None:
    """Say who is signed in, None for a stranger."""
    content = flask.session
    if "token" not in content or content["until"] <= time.time() or not _is_alive(content["token"]):
        return None
    return Signed(
        client_id=content["client"], scopes=frozenset(content["scope"].split()), token=content["token"]
    )


def believe(token: str) -> Claims:
    """Say what a token is good for; raises TokenRefused."""
    claims: Claims = flask.current_app.extensions[_BELIEVE](token)
    return claims


def _is_alive(token: str) -> bool:
    try:
        believe(token)
    except TokenRefused:
        return False
    except RequestRefused:  # nobody can tell right now: so the API will say
        return True
    return True


def token() -> str:
    """Return the token of who is signed in; raises SignInNeeded."""
    return needed().token


def needed() -> Signed:
    """Return who is signed in; raises SignInNeeded."""
    found = signed()
    if found is None:
        raise SignInNeeded
    return found


def until_s() -> int:
    """Say until when the token of this session lives, in seconds since 1970."""
    return int(flask.session["until"]) + SPARE_S


def was_signed() -> bool:
    """Say whether somebody was signed in and no longer is."""
    return "token" in flask.session and signed() is None


def local(target: str | None) -> str:
    """Return an address of this service, never of another: the start page in place of anything that is not ours."""
    if target is None or len(target) > MAX_NEXT or not _LOCAL.fullmatch(target):
        return "/"
    return target
