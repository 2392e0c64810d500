"""How long a door goes on believing tokens while it cannot learn which were revoked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from api.callers import BELIEVED_S, FRESH_S, Callers
from api.calls import Claims
from api.jwks import SigningKey
from api.jwts import Profile, TokenRefused, sign, verify
from api.problems import RequestRefused
from db.engine import StorageUnavailable
from db.standing import Standing

NOW = 1_800_000_000
KEY = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
PROFILE = Profile(issuer="http://x", audience="http://x")
WHO = Claims(client_id="demo", scopes=frozenset({"predict", "audit:erase"}), jti="j" * 22)
HEADERS = [(b"authorization", f"Bearer {sign(KEY, PROFILE, WHO, NOW, 600)}".encode())]


class _Keys:
    """What an authority is to callers, with one key and nothing on disk."""

    def verify(self, token: str, now_s: int) -> Claims:
        return verify(token, {KEY.verifying.kid: KEY.verifying}, PROFILE, now_s)

    def refresh(self) -> None:
        return


@dataclass
class _World:
    """A clock and a database that tests move and break."""

    now: float = 0.0
    standing: Standing | None = field(default_factory=Standing)

    def read(self) -> Standing:
        if self.standing is None:
            raise StorageUnavailable("gone")
        return self.standing

    def callers(self) -> Callers:
        callers = Callers(_Keys(), self.read, lambda: NOW, lambda: self.now)  # type: ignore[arg-type]  # all it needs
        asyncio.run(callers.refresh())
        return callers


def _authorize(callers: Callers, scope: str) -> Claims:
    return callers.authorize(HEADERS, frozenset({scope}))


def test_while_the_database_is_gone_what_was_known_holds_for_a_minute() -> None:
    """Then nobody can tell whether a token was revoked, and the answer is 503; nothing changes that sooner."""
    world = _World()
    callers = world.callers()
    world.standing = None
    world.now = BELIEVED_S
    asyncio.run(callers.refresh())
    assert _authorize(callers, "predict").client_id == "demo"

    world.now += 0.1
    with pytest.raises(RequestRefused) as refused:
        _authorize(callers, "predict")

    assert (refused.value.fault.slug, refused.value.fault.headers) == (
        "store-unavailable",
        {"Retry-After": "1"},
    )
    world.standing = Standing()
    asyncio.run(callers.refresh())
    assert _authorize(callers, "predict").client_id == "demo"


def test_grave_scopes_wait_less() -> None:
    """What nothing brings back, such as an erasure, is not done on a token that may have been revoked long ago."""
    world = _World()
    callers = world.callers()
    world.now = FRESH_S + 0.1

    assert _authorize(callers, "predict").client_id == "demo"
    with pytest.raises(RequestRefused):
        _authorize(callers, "audit:erase")


def test_a_door_that_never_could_read_believes_nobody() -> None:
    """A start without a database must not bring revoked tokens back to life."""
    world = _World(standing=None)

    with pytest.raises(RequestRefused):
        _authorize(world.callers(), "predict")


def test_a_revocation_here_holds_until_the_database_has_it() -> None:
    """Between the answer to a revocation and the next look at the database the token is refused, too."""
    world = _World()
    callers = world.callers()
    callers.revoke(WHO.jti)
    with pytest.raises(TokenRefused):
        callers.believe(HEADERS[0][1].decode().removeprefix("Bearer "))

    world.standing = Standing(revoked=frozenset({WHO.jti}))
    asyncio.run(callers.refresh())

    with pytest.raises(RequestRefused) as refused:
        _authorize(callers, "predict")
    assert refused.value.fault.slug == "unauthorized"


@pytest.mark.parametrize("since_s", [NOW, NOW + 1])
def test_tokens_from_before_the_clean_slate_are_refused(since_s: int) -> None:
    """Issued in or before the second in which all were voided: refused; later: believed."""
    world = _World(standing=Standing(not_before_s={"demo": since_s}))
    with pytest.raises(RequestRefused):
        _authorize(world.callers(), "predict")

    world.standing = Standing(not_before_s={"demo": NOW - 1, "other": NOW + 9})
    assert _authorize(world.callers(), "predict").client_id == "demo"
