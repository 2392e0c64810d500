"""What can be wrong with a token, or a request for one: the answer, that nothing else happens, what is kept of it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from api import jwts
from api.events import DETAILS
from api.jwts import Profile, TokenRefused
from tests import auditor
from tests.forged import DEAD, ILL_NAMED, UNSIGNED, Forge, Forger
from tests.service import Caller, Service
from tests.sockets import Answer, address, good, send

BEARER = 'Bearer realm="onrecord"'
INVALID = f'{BEARER}, error="invalid_token"'


class Trap:
    """A listener that a token's header names; whoever follows it is counted."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/keys"
        self.visits = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                self._listening.accept()[0].close()
            except OSError:
                return
            self.visits += 1

    def close(self) -> None:
        self._listening.close()


class Sent:
    """Every secret that was sent; at the end none of them is written anywhere."""

    def __init__(self) -> None:
        self.parts: set[str] = set()
        self.since = time.time()
        self.refused = 0

    def remember(self, token: str) -> None:
        self.parts |= {part for part in token.split(".") if len(part) > 40}


@pytest.fixture(scope="module")
def sent() -> Sent:
    """Remember what is sent."""
    return Sent()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    """Listen where no token may make anybody go."""
    trap = Trap()
    yield trap
    assert trap.visits == 0
    trap.close()


@pytest.fixture(scope="module")
def caller(service: Service, sent: Sent) -> Iterator[Caller]:
    """Sign in for the whole table; afterwards ledger, events and log are held to what was answered."""
    with service.caller("demo") as caller:
        before = len(caller.find(model="housing"))
        yield caller
        caller.sign_in()
        assert len(caller.find(model="housing")) - before == len(caller.seen)
        _nothing_was_written(service, caller, sent)
    assert auditor.audit(service.database_url, caller.seen) == []


def _nothing_was_written(service: Service, caller: Caller, sent: Sent) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(sent.since))
    with service.caller("admin") as admin:
        events = admin.http.get(
            "/v1/security-events", params={"from": since}, headers={"Accept": "application/x-ndjson"}
        ).text
    lines = [json.loads(line) for line in events.splitlines()]
    strangers = [each for each in lines if each["kind"] == "unauthenticated" and "suppressed" not in each]
    minutes = 2 + (time.time() - sent.since) // 60
    reasons = {each["reason"] for each in strangers}
    assert bool(strangers) == bool(sent.parts)
    assert len(strangers) <= DETAILS * len(reasons) * minutes
    assert all(len(each.get("claimed_kid", "")) <= 64 for each in strangers)
    assert all(each.get("verified_signature") for each in strangers if "client" in each)
    written = events + service.log()
    assert not [part for part in sent.parts if part in written]
    assert caller.client_secret not in written


@pytest.fixture(scope="module")
def forger(service: Service, caller: Caller, trap: Trap) -> Forger:
    """Forge tokens of the signed-in client."""
    return Forger(service, caller.client_id, trap.url)


def _get(caller: Caller, *authorization: bytes, path: str = "/v1/models") -> Answer:
    lines = [f"GET {path} HTTP/1.1".encode(), b"Host: " + address(caller).encode()]
    lines += [b"Authorization: " + each for each in authorization]
    return send(caller, b"\r\n".join(lines) + b"\r\n\r\n", "GET")


def _refused(answer: Answer, status: int, slug: str, challenge: str | None = None) -> None:
    assert (answer.status, answer.type) == (status, slug), answer.body
    assert answer.headers["WWW-Authenticate"] == challenge
    answer.is_sound()


def test_the_forger_can_make_good_tokens(caller: Caller, forger: Forger) -> None:
    """Unchanged, and with the mirrored signature, its tokens are believed: what is refused below is the one change."""
    assert _get(caller, b"Bearer " + forger.token().encode()).status == 200
    assert _get(caller, b"bEARER " + forger.mirrored().encode()).status == 200


@pytest.mark.parametrize("name", UNSIGNED | DEAD | ILL_NAMED)
def test_a_token_that_is_wrong_in_one_way_is_refused(
    caller: Caller, forger: Forger, sent: Sent, name: str
) -> None:
    """401 without a hint which check failed, in the same words for all; and the next good request is answered."""
    token = (UNSIGNED | DEAD | ILL_NAMED)[name](forger)
    sent.remember(token)

    answer = _get(caller, b"Bearer " + token.encode())

    _refused(answer, 401, "unauthorized", INVALID)
    assert json.loads(answer.body)["detail"] == "send an access token from /oauth/token as a Bearer token"
    good(caller)


def test_only_a_good_signature_proves_whose_a_token_is(forger: Forger) -> None:
    """What an event may say of a refused token's client is what its key has signed, and nothing else."""
    key = forger.key.verifying
    profile = Profile(issuer=forger.service.url, audience=forger.service.url)

    def proven(forge: Forge) -> str | None:
        with pytest.raises(TokenRefused) as refused:
            jwts.verify(forge(forger), {key.kid: key}, profile, int(time.time()))
        return refused.value.proven and refused.value.proven.client_id

    assert {name: proven(forge) for name, forge in (UNSIGNED | ILL_NAMED).items()} == dict.fromkeys(
        UNSIGNED | ILL_NAMED
    )
    assert {name: proven(forge) for name, forge in DEAD.items()} == dict.fromkeys(DEAD, forger.client_id)


@pytest.mark.parametrize("size", [60_000, 1_000_000])
def test_a_token_larger_than_any_header_is_refused(caller: Caller, size: int) -> None:
    """431, however much comes."""
    answer = _get(caller, b"Bearer " + b"A" * size)

    assert (answer.status, answer.type) == (431, "headers-too-large")
    good(caller)


@pytest.mark.parametrize("token", ["." * 10**6, "A" * 10**6, "a." * 2048, "A" * 4096, "=" * 60_000])
def test_a_token_of_any_size_costs_little(token: str) -> None:
    """Less than 5 ms at best, whatever it is made of: it is not decoded before it has the shape of one of ours."""
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        with pytest.raises(TokenRefused):
            jwts.verify(token, {}, Profile(issuer="i", audience="a"), 1)
        best = min(best, time.perf_counter() - began)

    assert best < 0.005


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        ((), BEARER),
        ((b"",), BEARER),
        ((b"Bearer",), BEARER),
        ((b"Bearer ",), BEARER),
        ((b"Basic ZGVtbzpkZW1v",), BEARER),
        ((b"Token {token}",), BEARER),
        ((b"Bearer\t{token}",), BEARER),
        ((b"Bearer={token}",), BEARER),
        ((b"{token}",), BEARER),
        ((b"Bearer  {token}",), INVALID),
        ((b"Bearer {token} x",), INVALID),
        ((b'Bearer "{token}"',), INVALID),
        ((b"Bearer {token},Bearer {token}",), INVALID),
    ],
    ids=repr,
)
def test_a_good_token_said_wrongly_is_no_token(
    caller: Caller, forger: Forger, sent: Sent, authorization: tuple[bytes, ...], challenge: str
) -> None:
    """401, and without `error` where nothing was said that could be a token (RFC 6750, 3.1)."""
    token = forger.token()
    sent.remember(token)

    answer = _get(caller, *(each.replace(b"{token}", token.encode()) for each in authorization))

    _refused(answer, 401, "unauthorized", challenge)
    good(caller)


@pytest.mark.parametrize("separator", [b"\x0b", b"\x0c", b"\x00", b"\x1f", b"\xa0"])
def test_only_a_space_separates(caller: Caller, forger: Forger, separator: bytes) -> None:
    """Neither VT nor FF nor anything else that some parsers take for white space makes a bearer token."""
    answer = _get(caller, b"Bearer" + separator + forger.token().encode())

    assert answer.status in (400, 401)
    assert answer.type in ("bad-request", "unauthorized")
    good(caller)


def test_two_tokens_are_none(caller: Caller, forger: Forger) -> None:
    """Two Authorization headers are 400, good as both may be, and are counted among strangers."""
    answer = _get(caller, *(b"Bearer " + forger.token().encode() for _ in range(2)))

    _refused(answer, 400, "bad-request")
    good(caller)


def test_a_token_in_the_address_is_not_looked_at(caller: Caller, forger: Forger, sent: Sent) -> None:
    """`?access_token=` is no token (RFC 9700, 2.1), and is not in the log."""
    token = forger.token()
    sent.remember(token)

    _refused(_get(caller, path=f"/v1/models?access_token={token}"), 401, "unauthorized", BEARER)
    good(caller)


@pytest.mark.parametrize(
    "scope", ["Predict", "predictx", "xpredict", "predict:all", "predictions:read", "*", "admin"]
)
def test_a_scope_is_a_whole_word(caller: Caller, forger: Forger, scope: str) -> None:
    """403 for everything that is not exactly the scope needed."""
    headers = {"Authorization": f"Bearer {forger.token(scope=scope)}"}

    answer = httpx.post(
        f"{caller.url}/v1/models/housing/predictions", json={"instances": [{"age": 5}]}, headers=headers
    )

    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    challenge = f'{BEARER}, error="insufficient_scope", scope="predict"'
    assert answer.headers["www-authenticate"] == challenge
    good(caller)
