"""The token endpoint and what tokens may do: every operation asks for its scopes, and nothing else opens it."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import jwt
import pytest

from api import contract
from api.app import CONTRACT
from tests.service import Caller, Service

AGREED = contract.read(CONTRACT, 10_000)
SECURED = [
    (method.upper(), path, operation["security"][0]["token"])
    for path, method, operation in AGREED.operations()
    if operation["security"]
]
ALL_SCOPES = contract.scopes(AGREED.document)
_PARTS = {"{model}": "housing", "{version}": "1"}
_RECORD = "0192f0c1-7c1e-7000-8000-000000000000"


def _address(path: str) -> str:
    for name, value in _PARTS.items():
        path = path.replace(name, value)
    return path.replace("{id}", f"{_RECORD}.0" if "predictions" in path else _RECORD)


def _basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


GRANT = {"grant_type": "client_credentials"}


def test_a_token_is_verified_by_anybody_with_the_published_keys(service: Service, demo: Caller) -> None:
    """The token is an RFC 9068 access token that a stranger can verify with the JWKS and the metadata."""
    metadata = httpx.get(f"{service.url}/.well-known/oauth-authorization-server").json()
    keys = jwt.PyJWKSet.from_dict(httpx.get(metadata["jwks_uri"]).json())
    token = demo.http.headers["authorization"].removeprefix("Bearer ")
    header = jwt.get_unverified_header(token)

    claims = jwt.decode(
        token,
        keys[header["kid"]],
        algorithms=["ES256"],
        audience=metadata["issuer"],
        issuer=metadata["issuer"],
    )

    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]}
    assert claims["exp"] - claims["iat"] == 600
    assert (claims["sub"], claims["client_id"]) == (demo.client_id, demo.client_id)
    assert claims.keys() == {"iss", "aud", "sub", "client_id", "scope", "iat", "exp", "jti"}


def test_a_client_authenticates_with_basic_or_in_the_form(service: Service, demo: Caller) -> None:
    """Both ways of RFC 6749, 2.3.1 work, and the answer is what 5.1 says it is."""
    url = f"{service.url}/oauth/token"
    in_form = {**GRANT, "client_id": demo.client_id, "client_secret": demo.client_secret}

    basic = httpx.post(url, data=GRANT, headers=_basic(demo.client_id, demo.client_secret))
    form = httpx.post(url, data=in_form)

    for answer in (basic, form):
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"access_token", "token_type", "expires_in", "scope"}
        assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 600)


def test_a_client_gets_the_scopes_it_asks_for(demo: Caller) -> None:
    """Less than all may be asked for; more than registered is refused."""
    assert demo.sign_in("predict")["scope"] == "predict"
    assert set(demo.sign_in()["scope"].split()) == {
        "predict",
        "predictions:read",
        "models:read",
        "outcomes:write",
    }


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a wrong secret": ({"auth": ("{id}", "wrong")}, 401, "invalid_client"),
    "an unknown client": ({"auth": ("nobody", "{secret}")}, 401, "invalid_client"),
    "a client id that no client can have": ({"auth": ("a\x00b", "{secret}")}, 401, "invalid_client"),
    "no client": ({}, 401, "invalid_client"),
    "a bearer token": ({"headers": {"Authorization": "Bearer x"}}, 401, "invalid_client"),
    "Basic that is not Base64": ({"headers": {"Authorization": "Basic !"}}, 401, "invalid_client"),
    "two ways at once": (
        {"auth": ("{id}", "{secret}"), "data": {**GRANT, "client_secret": "{secret}"}},
        400,
        "invalid_request",
    ),
    "two different clients": (
        {"auth": ("{id}", "{secret}"), "data": {**GRANT, "client_id": "other"}},
        400,
        "invalid_request",
    ),
    "a parameter twice": (
        {
            "auth": ("{id}", "{secret}"),
            "content": b"grant_type=client_credentials&grant_type=client_credentials",
        },
        400,
        "invalid_request",
    ),
    "no grant type": ({"auth": ("{id}", "{secret}"), "data": {"scope": "predict"}}, 400, "invalid_request"),
    "an empty grant type": (
        {"auth": ("{id}", "{secret}"), "data": {"grant_type": ""}},
        400,
        "invalid_request",
    ),
    "the password grant": (
        {"auth": ("{id}", "{secret}"), "data": {"grant_type": "password"}},
        400,
        "unsupported_grant_type",
    ),
    "a scope too many": (
        {"auth": ("{id}", "{secret}"), "data": {**GRANT, "scope": "predict audit:read"}},
        400,
        "invalid_scope",
    ),
    "a scope in other letters": (
        {"auth": ("{id}", "{secret}"), "data": {**GRANT, "scope": "Predict"}},
        400,
        "invalid_scope",
    ),
    "two blanks between scopes": (
        {"auth": ("{id}", "{secret}"), "data": {**GRANT, "scope": "predict  predict"}},
        400,
        "invalid_scope",
    ),
    "a thousand fields": (
        {"auth": ("{id}", "{secret}"), "content": b"&".join(b"a%d=1" % number for number in range(1000))},
        400,
        "invalid_request",
    ),
    "bytes that are no text": (
        {"auth": ("{id}", "{secret}"), "content": b"grant_type=\xff"},
        400,
        "invalid_request",
    ),
}


@pytest.mark.parametrize(("request_", "status", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_request_for_a_token_is_refused(
    service: Service, demo: Caller, request_: dict[str, Any], status: int, error: str
) -> None:
    """Each is answered in the words of RFC 6749, and 401 says how to authenticate."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("{id}", demo.client_id).replace("{secret}", demo.client_secret)
        if isinstance(value, tuple):
            return tuple(map(fill, value))
        return {name: fill(each) for name, each in value.items()} if isinstance(value, dict) else value

    chosen = {name: fill(value) for name, value in request_.items()}
    if "content" not in chosen:
        chosen.setdefault("data", GRANT)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    chosen["headers"] = form | chosen.get("headers", {})

    answer = httpx.post(f"{service.url}/oauth/token", **chosen)

    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert "access_token" not in answer.text


@pytest.mark.parametrize(
    ("method", "headers", "content", "status"),
    [
        ("GET", {}, None, 405),
        ("POST", {"Content-Type": "application/json"}, b"{}", 415),
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=" + b"b" * 20_000, 413),
    ],
    ids=["read", "as JSON", "too large"],
)
def test_the_token_endpoint_takes_only_small_forms(
    service: Service, method: str, headers: dict[str, str], content: bytes | None, status: int
) -> None:
    """Everything else is a problem before any secret is looked at."""
    answer = httpx.request(method, f"{service.url}/oauth/token", headers=headers, content=content)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path", "scopes"), SECURED, ids=[f"{one[0]} {one[1]}" for one in SECURED])
def test_every_operation_asks_for_its_scopes(
    service: Service, admin: Caller, method: str, path: str, scopes: list[str]
) -> None:
    """No token is 401, a token with every scope but the needed one is 403, the needed one alone opens it."""
    url = service.url + _address(path)
    body = {"content": b"{}", "headers": {"Content-Type": "application/json"}} if method == "POST" else {}

    nobody = httpx.request(method, url, **body)
    admin.sign_in(" ".join(sorted(set(ALL_SCOPES) - set(scopes))))
    others = admin.http.request(method, url, **body)
    admin.sign_in(" ".join(scopes))
    holder = admin.http.request(method, url, **body)

    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="onrecord"')
    assert others.status_code == 403
    assert f'error="insufficient_scope", scope="{" ".join(scopes)}"' in others.headers["www-authenticate"]
    assert holder.status_code not in (401, 403)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer", 401),
        ("Bearer a.b.c", 401),
        ("Bearer a b", 401),
        ("Basic YTpi", 401),
        ("", 401),
    ],
)
def test_anything_but_a_token_of_ours_is_refused(service: Service, header: str, status: int) -> None:
    """What is not a valid token is 401 with a challenge, and the body does not say why."""
    answer = httpx.get(f"{service.url}/v1/models", headers={"Authorization": header})

    assert answer.status_code == status
    assert answer.headers["www-authenticate"].startswith('Bearer realm="onrecord"')
    assert answer.json()["detail"] == "send an access token from /oauth/token as a Bearer token"


def test_two_tokens_at_once_are_refused(service: Service, demo: Caller) -> None:
    """Two Authorization headers are an ambiguity, not a choice."""
    token = demo.http.headers["authorization"]

    answer = httpx.get(
        f"{service.url}/v1/models", headers=[("Authorization", token), ("Authorization", token)]
    )

    assert answer.status_code == 400


def test_a_disabled_client_is_out_within_seconds(service: Service) -> None:
    """A disabled client gets no token, and the tokens it has stop working."""
    import time

    made = service.command("client", "add", "leaver", "--scope", "models:read")
    client = json.loads(made.stdout[made.stdout.index("{") : made.stdout.rindex("}") + 1])
    with Caller(service.url, client["client_id"], client["client_secret"]) as leaver:
        assert leaver.http.get("/v1/models").status_code == 200

        service.command("client", "disable", leaver.client_id)

        refused = httpx.post(
            f"{service.url}/oauth/token", data=GRANT, auth=(leaver.client_id, leaver.client_secret)
        )
        assert refused.status_code == 401
        until = time.monotonic() + 8
        while leaver.http.get("/v1/models").status_code == 200 and time.monotonic() < until:
            time.sleep(0.2)
        assert leaver.http.get("/v1/models").status_code == 401
