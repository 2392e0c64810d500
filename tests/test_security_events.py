"""What was denied is found again, capped, without a secret, a token or a body; and costs nobody an answer."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from api import denials
from api.calls import Answer, Call, Claims
from tests.engines import wait_for
from tests.service import Caller, Service, nameless, running

FORM = {"grant_type": "client_credentials"}


def events(auditor: Caller, **query: Any) -> list[dict[str, Any]]:
    """Read all that match, the last written first."""
    answer = auditor.http.get("/v1/security-events", params=query, headers={"Accept": "application/x-ndjson"})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def of_request(auditor: Caller, answer: httpx.Response) -> dict[str, Any]:
    """Wait for the event of one answer."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [each for each in events(auditor) if each.get("request") == answer.headers["x-request-id"]]
        return bool(found)

    wait_for(is_there)
    [event] = found
    return event


def test_a_missing_scope_is_an_event_with_all_there_is_to_know(demo: Caller, admin: Caller) -> None:
    """403: who, with which token, what it may do, what it wanted, what was missing."""
    answer = demo.http.get("/v1/holds")
    claims = jwt.decode(demo.http.headers["authorization"][7:], options={"verify_signature": False})

    event = of_request(admin, answer)

    assert (answer.status_code, event["kind"], event["status"]) == (403, "forbidden", 403)
    assert (event["client"], event["jti"]) == (demo.client_id, claims["jti"])
    assert (event["needed"], set(event["held"].split())) == ("audit:read", set(claims["scope"].split()))
    assert (event["operation"], event["target"]) == ("holds.search", "/v1/holds")
    assert event["address"] == "127.0.0.1"


REFUSED: dict[str, tuple[bytes, Mapping[str, str], int, str]] = {
    "no JSON": (b'{"instances": [', {}, 400, "malformed-json"),
    "another shape": (b'{"instances": 5}', {}, 400, "validation"),
    "another media type": (b"age=5", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    "no such version": (b'{"instances": [{"age": 5}], "version": "77"}', {}, 404, "not-found"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_reaches_no_model_is_an_event(demo: Caller, admin: Caller, name: str) -> None:
    """4xx: the client, the operation, the problem, and of a body that was read its length and digest only."""
    body, headers, status, problem = REFUSED[name]

    answer = demo.send("housing", body, **headers)

    event = of_request(admin, answer)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert (event["kind"], event["reason"], event["client"]) == ("refused", problem, demo.client_id)
    if status != 415:
        assert (event["body_bytes"], event["body_sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


ASKED = ("predictions/{}.0", "records/{}", "records/{}/receipt")


@pytest.mark.parametrize("address", ASKED)
def test_asking_for_anothers_record_stands_out(demo: Caller, admin: Caller, address: str) -> None:
    """404 for what is not there and for what is another's: the same answer, and two kinds of event."""
    theirs = admin.predict("housing", {"age": 50}).json()["record"]

    foreign = demo.http.get("/v1/" + address.format(theirs))
    absent = demo.http.get("/v1/" + address.format(theirs[:-12] + secrets.token_hex(6)))

    assert nameless(foreign) == nameless(absent)
    assert (foreign.status_code, absent.status_code) == (404, 404)
    event = of_request(admin, foreign)
    assert (event["kind"], event["reason"], event["client"]) == ("foreign", "not-found", demo.client_id)
    assert theirs in event["target"]
    assert of_request(admin, absent)["kind"] == "refused"


def test_what_is_on_record_is_no_event(demo: Caller, admin: Caller) -> None:
    """201 and what names its record are on record; an event of them would say the same twice."""
    good = demo.predict("housing", {"age": 50})
    of_request(admin, demo.http.get("/v1/holds"))
    claims = Claims(client_id="demo", scopes=frozenset({"predict"}), jti="t-1")
    answer = Answer(status=422, content=b'{"type":"/problems/invalid-features","record":"0192"}')
    scope = {"extensions": {denials.TOLD: (Call(claims=claims), answer)}, "raw_path": b"/"}

    assert good.status_code == 201
    assert good.headers["x-request-id"] not in {each.get("request") for each in events(admin)}
    assert denials.answered(scope, 1, "r") is None


def test_a_stranger_is_a_reason_an_address_and_a_claimed_key(
    service: Service, demo: Caller, admin: Caller
) -> None:
    """401 of a token that nobody has signed: its claims are believed in nothing, its kid is cut and escaped."""
    kid = "key\n\x1b[31m" + "é" * 100
    token = jwt.encode({"sub": admin.client_id, "jti": "forged"}, "x" * 32, headers={"kid": kid})

    event = of_request(
        admin, httpx.get(f"{service.url}/v1/models", headers={"Authorization": f"Bearer {token}"})
    )

    assert (event["kind"], event["reason"], event["address"]) == ("unauthenticated", "key", "127.0.0.1")
    assert event["claimed_kid"] == (r"key\n\x1b[31m" + r"\xe9" * 100)[:64]
    assert not event.keys() & {"client", "jti", "held", "verified_signature"}


def test_a_good_signature_names_whose_token_is_dead(service: Service, demo: Caller, admin: Caller) -> None:
    """401 of a revoked token: whose it was is proven, and that is said."""
    token = demo.sign_in()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    auth = (demo.client_id, demo.client_secret)
    assert httpx.post(f"{service.url}/oauth/revoke", data={"token": token}, auth=auth).status_code == 200

    event = of_request(admin, demo.http.get("/v1/models"))

    assert (event["reason"], event["verified_signature"]) == ("revoked", True)
    assert (event["client"], event["jti"]) == (demo.client_id, claims["jti"])


def test_tokens_given_and_refused_are_events(service: Service, demo: Caller, admin: Caller) -> None:
    """The token endpoint: to whom a token was given; who asked in vain is named only where the secret was right."""
    url, auth = f"{service.url}/oauth/token", (demo.client_id, demo.client_secret)

    given = httpx.post(url, data={**FORM, "scope": "predict"}, auth=auth)
    wrong = httpx.post(url, data=FORM, auth=(demo.client_id, "not-the-secret"))
    too_much = httpx.post(url, data={**FORM, "scope": "audit:read"}, auth=auth)

    claims = jwt.decode(given.json()["access_token"], options={"verify_signature": False})
    event = of_request(admin, given)
    assert (event["kind"], event["client"]) == ("token-issued", demo.client_id)
    assert (event["held"], event["jti"]) == ("predict", claims["jti"])
    event = of_request(admin, wrong)
    assert (event["kind"], event["reason"]) == ("token-refused", "invalid_client")
    assert "client" not in event
    event = of_request(admin, too_much)
    assert (event["kind"], event["reason"]) == ("token-refused", "invalid_scope")
    assert event["client"] == demo.client_id


def test_events_are_found_by_kind_client_and_time_page_by_page(demo: Caller, admin: Caller) -> None:
    """Every condition narrows, pages meet without a gap, and a cursor is good for its own search only."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    answers = [demo.http.get("/v1/holds") for _ in range(5)]
    of_request(admin, answers[-1])
    query = {"kind": "forbidden", "client": demo.client_id, "from": started}

    pages, cursor = [], {}
    while True:
        page = admin.http.get("/v1/security-events", params={**query, "limit": 2, **cursor}).json()
        pages += page["events"]
        if "next" not in page:
            break
        cursor = {"cursor": page["next"]}

    assert pages == events(admin, **query)
    assert [each["request"] for each in pages[:5]] == [each.headers["x-request-id"] for each in answers[::-1]]
    assert events(admin, **query, to=started) == []
    assert events(admin, kind="forbidden", client="nobody") == []
    other = admin.http.get("/v1/security-events", params={**query, "kind": "refused", **cursor})
    assert (other.status_code, other.json()["type"]) == (404, "/problems/unknown-cursor")
    assert demo.http.get("/v1/security-events").status_code == 403


def test_nothing_secret_is_in_an_event_or_in_the_log(short_folder: Path) -> None:
    """Whatever is sent where it does not belong: no token, secret or body is written anywhere but where it must be."""
    canary, in_path = secrets.token_hex(16), secrets.token_hex(16)
    with (
        running(short_folder / "canary") as service,
        service.caller() as demo,
        service.caller("admin") as admin,
    ):
        token = demo.http.headers["authorization"][7:]
        url = service.url
        last = [
            demo.send("housing", json.dumps({"instances": [{"age": canary}]}).encode()),
            demo.http.get(f"/v1/predictions/{in_path}"),
            demo.http.get(f"/v1/holds?access_token={canary}"),
            httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {canary}"}),
            httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {token[:-4]}AAAA"}),
            httpx.post(f"{url}/oauth/token", data=FORM, auth=(demo.client_id, canary)),
            httpx.post(
                f"{url}/oauth/token", data={**FORM, "client_id": demo.client_secret, "client_secret": "x"}
            ),
            httpx.post(f"{url}/oauth/token", content=canary, headers={"Content-Type": "text/plain"}),
        ]
        for answer in last:
            of_request(admin, answer)
        wait_for(lambda: len(events(admin)) >= len(last))
        kept = json.dumps(events(admin))
        written = kept + service.log()

    assert in_path not in kept  # the log names paths
    for secret in (canary, token, demo.client_secret, token.rpartition(".")[2], token.split(".")[1]):
        assert secret not in written
