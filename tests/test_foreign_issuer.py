"""Tokens of another issuer, such as Keycloak, are believed where the operator says so, by its published keys alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.authority import FETCH_S, UNKNOWN_S, Foreign
from api.jwks import NoKey, SigningKey, VerifyingKey, read_set
from api.jwts import Profile, TokenRefused
from api.pages.granting import Issuer
from api.problems import RequestRefused
from tests import auditor
from tests.engines import wait_for
from tests.issuers import AUDIENCE, ISSUER, KEYS, NOW, Issues, key_set, token
from tests.pages import Person
from tests.service import Service, running

FAILURES = 3
PROFILE = Profile(issuer=ISSUER, audience=AUDIENCE, is_ours=False)


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class _Publisher:
    """An issuer's key set that tests change, break, and count the visits of."""

    def __init__(self, *keys: SigningKey) -> None:
        self.content: object = key_set(*keys)
        self.visits = 0

    def __call__(self) -> dict[str, VerifyingKey]:
        self.visits += 1
        if isinstance(self.content, OSError):
            raise self.content
        return read_set(self.content)


def _foreign(publisher: _Publisher, clock: _Clock | None = None) -> Foreign:
    foreign = Foreign(PROFILE, publisher, clock or _Clock())
    foreign.refresh()
    return foreign


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_of_the_issuer_names_its_client(algorithm: str) -> None:
    """Who calls is `azp` where there is no `client_id`; scopes of others mean nothing here and do no harm."""
    claims = _foreign(_Publisher(*KEYS.values())).verify(token(algorithm), NOW)

    assert (claims.client_id, claims.jti) == ("loans", "trrtcc:0f3a")
    assert claims.scopes == {"profile", "predict", "models:read"}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": ISSUER + "/"}, {"aud": ["account"]}, {"aud": ...}, {"azp": ...}, {"azp": 5}, {"scope": ["predict"]},
        {"jti": ...}, {"exp": NOW - 31}, {"exp": NOW + 3601}, {"iat": NOW + 31}, {"nbf": NOW + 31}, {"client_id": None},
    ],
    ids=repr,
)  # fmt: skip
def test_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    """Issuer, audience, times and names are held to the same rules as our own."""
    with pytest.raises(TokenRefused):
        _foreign(_Publisher(KEYS["RS256"])).verify(token(**changes), NOW)


@pytest.mark.parametrize(
    "header", [{"typ": "id_token"}, {"jku": "http://x"}, {"crit": ["b64"]}, {"kid": "enc-1"}]
)
def test_a_wrong_header_is_refused(header: dict[str, Any]) -> None:
    """No member that would have to be followed, no other kind of token, no key for another use."""
    with pytest.raises(TokenRefused):
        _foreign(_Publisher(KEYS["RS256"])).verify(token(header=header), NOW)


def test_an_unknown_key_is_looked_for_once_in_a_while_and_never_by_a_request() -> None:
    """A stranger's `kid` makes nobody fetch; the next look in the background finds a key that is really new."""
    clock, publisher = _Clock(), _Publisher(KEYS["RS256"])
    foreign = _foreign(publisher, clock)
    publisher.content = key_set(*KEYS.values())
    for _ in range(100):
        with pytest.raises(TokenRefused):
            foreign.verify(token("ES256"), NOW)
    foreign.refresh()
    assert publisher.visits == 1

    clock.now += UNKNOWN_S
    foreign.refresh()

    assert foreign.verify(token("ES256"), NOW).client_id == "loans"
    assert publisher.visits == 2


def test_keys_that_were_known_outlast_an_issuer_that_is_down() -> None:
    """While it does not answer, or answers nonsense, tokens it signed before go on working."""
    clock, publisher = _Clock(), _Publisher(KEYS["RS256"])
    foreign = _foreign(publisher, clock)
    for broken in (
        OSError("down"),
        {"keys": []},
        [],
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]},
    ):
        publisher.content = broken
        clock.now += FETCH_S
        foreign.refresh()

        assert foreign.verify(token(), NOW).client_id == "loans"


def test_nobody_can_tell_before_the_first_keys_are_known() -> None:
    """Then a token is neither good nor bad: 503, which a caller may repeat, instead of a 401 that is not true."""
    publisher = _Publisher()
    publisher.content = OSError("down")

    with pytest.raises(RequestRefused) as refused:
        _foreign(publisher).verify(token(), NOW)

    assert refused.value.fault.slug == "issuer-unavailable"


def test_secret_keys_and_weak_ones_in_a_set_are_passed_over() -> None:
    """A set with nothing but a shared secret, a short RSA key and a private half left out is no set of ours."""
    short = {"kty": "RSA", "kid": "s", "n": "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri", "e": "AQAB"}

    with pytest.raises(NoKey):
        read_set(
            {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"}, short, {"kty": "EC"}, 5]}
        )


@pytest.fixture(scope="module")
def foreign(short_folder: Path) -> Iterator[Service]:
    """Run a service that believes such an issuer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Issues) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        name = f"http://127.0.0.1:{server.server_port}/realms/bank"
        settings = {
            "ONRECORD_ISSUER": name,
            "ONRECORD_ISSUER_KEYS": f"{name}/certs",
            "ONRECORD_AUDIENCE": AUDIENCE,
            "ONRECORD_FAILURES_PER_ADDRESS": str(FAILURES),
            "ONRECORD_TRUSTED_PROXIES": "127.0.0.1",
            "ONRECORD_PUBLIC_FORMS": "housing",
        }
        with running(short_folder / "foreign", None, **settings) as service:
            yield service
        server.shutdown()


def _issued(foreign: Service, scope: str = "predict models:read") -> str:
    return token(at_s=int(time.time()), iss=foreign.environment["ONRECORD_ISSUER"], scope=scope)


def test_the_service_believes_the_issuer_it_is_told(foreign: Service) -> None:
    """Its clients predict by its tokens, within their scopes; this service then issues no tokens and says who does."""
    url, name = foreign.url, foreign.environment["ONRECORD_ISSUER"]
    bearer = {"Authorization": f"Bearer {_issued(foreign)}"}

    answer = httpx.post(
        f"{url}/v1/models/housing/predictions", json={"instances": [{"age": 50}]}, headers=bearer
    )
    beyond = httpx.get(f"{url}/v1/predictions", headers=bearer)
    asked = httpx.post(f"{url}/oauth/token", data={"grant_type": "client_credentials"}, auth=("a", "b"))
    keys = httpx.get(f"{url}/.well-known/jwks.json")

    assert answer.status_code == 201
    assert beyond.status_code == 403
    assert (asked.status_code, asked.json()["error"]) == (400, "invalid_request")
    assert (keys.status_code, keys.json()["type"]) == (404, "/problems/not-found")
    assert name in asked.json()["error_description"]
    assert auditor.audit(foreign.database_url, {answer.json()["record"]: answer.content}) == []


def test_a_person_signs_in_by_the_issuer(foreign: Service) -> None:
    """The page says whose clients may, the issuer judges the secret, and signing out voids the token here, too."""
    name = foreign.environment["ONRECORD_ISSUER"]
    with Person(foreign) as person, Person(foreign) as thief:
        page = person.look("/sign-in")
        wrong = person.send("/sign-in", {"client_id": "loans", "client_secret": "no"})
        right = person.send(
            "/sign-in?next=/models/housing", {"client_id": "loans", "client_secret": "s3/cret"}
        )
        form = person.follow(right)
        predicted = person.send("/models/housing", {"once": "1", "age": "50"}, seen="/models/housing")
        thief.http.cookies.update(person.http.cookies)
        everywhere = person.look("/sign-out-everywhere")
        forced = person.send("/sign-out-everywhere", {"client_secret": "s3/cret"}, seen="/")
        before = thief.look("/models/income").status_code
        person.send("/sign-out", {}, seen="/")

        assert f"known to <b>{name}</b>" in page.text
        assert (wrong.status_code, "the id or the secret is wrong" in wrong.text) == (401, True)
        assert "Signed in as <b>loans</b>" in form.text
        assert predicted.status_code == 303
        assert f"issued by {name}" in everywhere.text
        assert (forced.status_code, f"issued by {name}" in forced.text) == (409, True)
        assert (before, thief.look("/models/income").status_code) == (200, 303)
    assert auditor.audit(foreign.database_url, {}) == []


def test_an_open_form_is_of_the_issuers_client(foreign: Service) -> None:
    """With a wrong secret it is closed, no stranger's fault; with the right one, kept by a set-up, strangers ask it."""
    file = foreign.var / "clients" / "public-forms.json"
    client = {"client_id": "loans", "client_secret": "s3/cret"}
    with Person(foreign) as stranger:
        stranger.http.headers["X-Forwarded-For"] = "192.0.2.21"
        for day in range(FAILURES + 2):
            file.write_text(json.dumps({**client, "client_secret": f"of day {day}"}))
            known = len(Issues.asked)

            def is_judged(known: int = known) -> bool:  # a busy issuer may be asked again
                page = stranger.look("/models/housing")
                assert (page.status_code, "This form is closed" in page.text) == (503, True)
                found = len(Issues.asked) > known
                assert stranger.send("/sign-in", client).status_code != 429
                stranger.http.cookies.clear()
                return found

            wait_for(is_judged)
        file.write_text(json.dumps(client))
        foreign.command("setup")
        assert json.loads(file.read_text()) == client
        wait_for(lambda: stranger.look("/models/housing").status_code == 200)
        predicted = stranger.send("/models/housing", {"once": "2", "age": "50"}, seen="/models/housing")
        answer = stranger.follow(predicted)
        other = stranger.look("/models/income")

    assert "24.901" in answer.text and "Signed in as" not in answer.text
    assert stranger.place(other).startswith("/sign-in")
    assert auditor.audit(foreign.database_url, {}) == []


def test_who_guesses_a_secret_of_the_issuer_is_stopped_here(foreign: Service) -> None:
    """Soon no guess reaches the issuer, who sees only the door's address; others sign in, and it is all noted."""
    bearer = {"Authorization": f"Bearer {_issued(foreign, 'audit:read')}"}
    with Person(foreign) as guesser, Person(foreign) as other:
        guesser.http.headers["X-Forwarded-For"] = "192.0.2.7"
        other.http.headers["X-Forwarded-For"] = "192.0.2.8"

        def guess() -> bool:
            known = len(Issues.asked)
            answer = guesser.send("/sign-in", {"client_id": "loans", "client_secret": "guess"})
            assert answer.status_code in (401, 429)
            assert (answer.status_code == 429) == ("Too many attempts failed from here" in answer.text)
            return len(Issues.asked) == known

        def signs_in() -> bool:  # a busy issuer may be asked again
            form = {"client_id": "loans", "client_secret": "s3/cret"}
            return other.send("/sign-in", form).status_code == 303

        wait_for(guess)
        wait_for(signs_in)

    def is_noted() -> bool:
        found = httpx.get(
            f"{foreign.url}/v1/security-events", params={"kind": "token-refused"}, headers=bearer
        )
        return "192.0.2.7" in found.text

    wait_for(is_noted)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example", "token_endpoint": "https://sso.example/token"},
        {"issuer": ISSUER, "token_endpoint": "http://sso.example/token"},
        {"issuer": ISSUER},
    ],
)
def test_a_secret_goes_to_nobody_but_the_issuer(metadata: dict[str, str]) -> None:
    """Metadata of another issuer, or with a way that is less safe than the issuer's own name, is not followed."""
    with pytest.raises(ValueError, match="another issuer"):
        Issuer(ISSUER, AUDIENCE)._checked(metadata)


def test_an_issuer_without_its_keys_is_refused_at_the_start(tmp_path: Path) -> None:
    """The start says which setting is missing."""
    service = Service(tmp_path, ONRECORD_ISSUER=ISSUER).set_up()

    process = service.spawn("doors", "--port", str(service.port))

    assert process.wait(timeout=120) != 0
    assert "ONRECORD_ISSUER_KEYS" in service.log()
