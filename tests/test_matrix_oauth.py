"""Tokens taken back, other clients' records, and the `/oauth/` addresses: nobody learns what is not theirs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jwt
import pytest

from tests import auditor, forged
from tests.families import wait_until
from tests.forged import Forger
from tests.service import Caller, Service, nameless
from tests.sockets import good

INVALID = 'Bearer realm="onrecord", error="invalid_token"'
FORM = {"grant_type": "client_credentials"}
FOLLOWED_WITHIN_S = 60


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    """Sign in for the whole table; afterwards the ledger is audited against every answer."""
    with service.caller("demo") as caller:
        yield caller
    assert auditor.audit(service.database_url, caller.seen) == []


@pytest.fixture(scope="module")
def forger(service: Service, caller: Caller) -> Forger:
    """Forge tokens of the signed-in client."""
    return Forger(service, caller.client_id)


@contextmanager
def _client(service: Service, scope: str = "predict models:read") -> Iterator[Caller]:
    added = json.loads(service.command("client", "add", f"m-{secrets.token_hex(3)}", "--scope", scope).stdout)
    with Caller(service.url, added["client_id"], added["client_secret"]) as caller:
        yield caller


def _until_refused(authorization: str, url: str) -> httpx.Response:
    answers: list[httpx.Response] = []

    def is_refused() -> bool:
        answers.append(httpx.get(f"{url}/v1/models", headers={"Authorization": authorization}))
        return answers[-1].status_code != 200

    wait_until(is_refused, FOLLOWED_WITHIN_S)
    return answers[-1]


def test_what_was_taken_back_is_refused_like_a_forgery(service: Service, caller: Caller) -> None:
    """A revoked token, its mirror image, and a disabled client's: 401 with the bytes of any other."""
    with _client(service) as doomed:
        forger = Forger(service, doomed.client_id)
        one = forger.mirrored()
        claims = jwt.decode(one, options={"verify_signature": False})
        twin = forger.token(jti=claims["jti"])
        form, auth = {"token": twin}, (doomed.client_id, doomed.client_secret)
        assert httpx.post(f"{service.url}/oauth/revoke", data=form, auth=auth).status_code == 200

        revoked = [_until_refused(f"Bearer {each}", service.url) for each in (twin, one)]
        assert doomed.http.get("/v1/models").status_code == 200
        service.command("client", "disable", doomed.client_id)
        disabled = _until_refused(doomed.http.headers["authorization"], service.url)

    forgery = httpx.get(f"{service.url}/v1/models", headers={"Authorization": "Bearer a.b.c"})
    for answer in (*revoked, disabled):
        assert nameless(answer) == nameless(forgery)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, INVALID)
    good(caller)


@pytest.mark.parametrize("path", ["/v1/predictions/{id}.0", "/v1/records/{id}", "/v1/records/{id}/receipt"])
def test_another_clients_record_is_as_if_it_were_not(service: Service, caller: Caller, path: str) -> None:
    """404 for a foreign id as for one that nobody has, with GET and HEAD."""
    theirs = caller.predict("housing", {"age": 50}).json()["record"]
    absent = "0192f0c1-7c1e-7000-8000-000000000000"
    with _client(service, "predict predictions:read") as other:
        answers = [other.http.get(path.replace("{id}", each)) for each in (theirs, absent)]
        heads = [other.http.head(path.replace("{id}", each)) for each in (theirs, absent)]

    assert [each.status_code for each in (*answers, *heads)] == [404] * 4
    assert nameless(answers[0]) == nameless(answers[1])
    assert [each.headers["content-length"] for each in heads] == [str(len(answers[0].content))] * 2
    good(caller)


def test_nobody_learns_which_clients_there_are(service: Service, caller: Caller) -> None:
    """A wrong secret, an unknown client and a disabled one are refused in the same bytes."""
    with _client(service) as doomed:
        service.command("client", "disable", doomed.client_id)
    answers = [
        httpx.post(f"{service.url}/oauth/token", data=FORM, auth=auth)
        for auth in (
            (caller.client_id, "wrong"),
            ("nobody-at-all", caller.client_secret),
            (doomed.client_id, doomed.client_secret),
        )
    ]

    told = [(each.status_code, each.content, _lasting(each)) for each in answers]
    assert told == [told[0]] * 3
    assert (answers[0].status_code, answers[0].json()["error"]) == (401, "invalid_client")
    good(caller)


def _lasting(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}


URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
ASKED: dict[str, tuple[dict[str, Any], int, str]] = {
    "grant_type twice": (
        {"content": b"grant_type=client_credentials&grant_type=client_credentials", "headers": URLENCODED},
        400,
        "invalid_request",
    ),
    "two ways to authenticate": ({"data": {**FORM, "client_secret": "x"}}, 400, "invalid_request"),
    "JSON": ({"json": FORM}, 415, "/problems/unsupported-media-type"),
    "an unknown grant": ({"data": {"grant_type": "password"}}, 400, "unsupported_grant_type"),
    "a scope too wide": ({"data": {**FORM, "scope": "audit:erase"}}, 400, "invalid_scope"),
    "a million fields": ({"content": b"a=1&" * 10**6, "headers": URLENCODED}, 413, "/problems/too-large"),
    "ten megabytes": ({"content": b"a" * 10**7, "headers": URLENCODED}, 413, "/problems/too-large"),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_wrong_request_for_a_token_gives_none(caller: Caller, name: str) -> None:
    """Each is refused in OAuth's words, or as a problem where it is no OAuth request at all."""
    asked, status, error = ASKED[name]
    auth = (caller.client_id, caller.client_secret)

    answer = httpx.post(f"{caller.url}/oauth/token", auth=auth, **asked)

    content = answer.json()
    assert (answer.status_code, content.get("error") or content["type"]) == (status, error)
    assert "access_token" not in answer.text
    assert len(answer.content) < 4096
    good(caller)


def test_the_token_endpoint_is_asked_with_post(caller: Caller) -> None:
    """405 with Allow for everything else."""
    answer = httpx.get(f"{caller.url}/oauth/token", params={**FORM, "client_id": caller.client_id})

    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
    good(caller)


def test_nothing_is_told_of_tokens_that_are_nothing(service: Service, caller: Caller, forger: Forger) -> None:
    """Introspection says only that they are not active; revocation says nothing, and takes no foreign token back."""
    now_s = int(time.time())
    dead = {
        "garbage": "x",
        "a forgery": forged.UNSIGNED["another key"](forger),
        "expired": forger.token(iat=now_s - 600, exp=now_s - 60),
    }
    with service.caller("admin") as admin, _client(service) as stranger:
        mine, theirs = (admin.client_id, admin.client_secret), (stranger.client_id, stranger.client_secret)
        for token in dead.values():
            asked = httpx.post(f"{service.url}/oauth/introspect", data={"token": token}, auth=mine)
            taken = httpx.post(f"{service.url}/oauth/revoke", data={"token": token}, auth=theirs)
            assert (asked.status_code, asked.json()) == (200, {"active": False})
            assert (taken.status_code, taken.content) == (200, b"")
        foreign = caller.http.headers["authorization"].removeprefix("Bearer ")
        taken = httpx.post(f"{service.url}/oauth/revoke", data={"token": foreign}, auth=theirs)
        asked = httpx.post(f"{service.url}/oauth/introspect", data={"token": foreign}, auth=mine)

    assert (taken.status_code, taken.content, asked.json()["active"]) == (200, b"", True)
    good(caller)
