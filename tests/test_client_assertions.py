"""A client that signs who it is needs no secret: each assertion is good once, and only as it was signed (RFC 7523)."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey

from tests import auditor
from tests.service import Caller, Service, running
from tests.signing import (
    GRANT,
    TYPE,
    SigningClient,
    by_hand,
    is_unknown,
    new_key,
    registered,
    settled,
)


@pytest.fixture(scope="module")
def doors(short_folder: Path) -> Iterator[Service]:
    """Run a service with two doors, so that what one has taken another must not take."""
    with running(short_folder / "assertions", ONRECORD_DOORS="2") as service:
        with service.caller("admin") as admin:
            settled(registered(service, admin))
        yield service
        assert auditor.audit(service.database_url) == []
        service.stop()
        assert service.command("verify", check=False).returncode == 0


@pytest.fixture
def admin(doors: Service) -> Iterator[Caller]:
    """Sign in with every scope there is."""
    with doors.caller("admin") as caller:
        yield caller


@pytest.fixture
def signer(doors: Service, admin: Caller) -> SigningClient:
    """Register a client of this test's own."""
    return registered(doors, admin)


def test_a_signed_client_gets_tokens_and_asks_about_them(doors: Service, signer: SigningClient) -> None:
    """Token, introspection and revocation take an assertion each, and the token works."""
    answer = signer.ask(signer.assertion())
    token = answer.json()["access_token"]
    used = httpx.get(f"{doors.url}/v1/models", headers={"Authorization": f"Bearer {token}"})
    explained = signer.ask(signer.assertion(), "introspect", token=token)
    revoked = signer.ask(signer.assertion(), "revoke", token=token)

    assert (answer.status_code, used.status_code, revoked.status_code) == (200, 200, 200)
    assert (explained.json()["active"], explained.json()["client_id"]) == (True, signer.client_id)


def test_authlib_signs_in(doors: Service, signer: SigningClient) -> None:
    """A client library that nobody here wrote gets a token with its key, as the metadata say."""
    about = httpx.get(f"{doors.url}/.well-known/oauth-authorization-server").json()
    assert "private_key_jwt" in about["token_endpoint_auth_methods_supported"]
    assert "ES256" in about["token_endpoint_auth_signing_alg_values_supported"]
    pem = signer.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    lifetime = {"exp": int(time.time()) + 60}
    method = PrivateKeyJWT(about["issuer"], claims=lifetime, headers={"kid": "k1"}, alg="ES256")
    with OAuth2Client(
        signer.client_id, ECKey.import_key(pem), token_endpoint_auth_method="private_key_jwt"
    ) as client:
        client.register_client_auth_method(method)
        token = client.fetch_token(about["token_endpoint"], grant_type="client_credentials")
        used = client.get(f"{doors.url}/v1/models")

    assert (token["token_type"], used.status_code) == ("Bearer", 200)


def test_an_assertion_is_good_once_at_any_door(doors: Service, signer: SigningClient) -> None:
    """Whichever door it comes to again, and at whichever address: it was used."""
    assertion = signer.assertion()

    assert signer.ask(assertion).status_code == 200
    for _ in range(12):
        assert is_unknown(signer.ask(assertion))
    assert is_unknown(signer.ask(assertion, "introspect", token="x"))
    assert is_unknown(
        signer.ask(signer.assertion(jti=jwt.decode(assertion, options={"verify_signature": False})["jti"]))
    )


def test_a_name_belongs_to_its_client(doors: Service, admin: Caller, signer: SigningClient) -> None:
    """Another client may happen to use the same jti."""
    other = registered(doors, admin)

    assert [each.ask(each.assertion(jti="same")).status_code for each in (signer, other)] == [200, 200]


def test_an_engine_that_restarts_takes_nothing_twice(doors: Service, signer: SigningClient) -> None:
    """What was used before is refused afterwards, also by an engine that cannot know of it; new ones work soon."""
    used = signer.assertion(exp=int(time.time()) + 60, iat=int(time.time()))
    assert signer.ask(used).status_code == 200
    doors.stop()
    doors.start()

    first = signer.ask(used)
    settled(signer)

    assert first.status_code == 503 or is_unknown(first)
    assert signer.ask(used).status_code != 200


WRONG: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://elsewhere.example"},
    "the address of tokens as audience": {"aud": "{url}/oauth/token"},
    "a list of audiences": {"aud": ["{url}"]},
    "no audience": {"aud": ...},
    "a life too long": {"exp": 61},
    "no end": {"exp": ...},
    "expired": {"iat": -45, "exp": -15},
    "made in the future": {"iat": 25, "exp": 40},
    "not yet": {"nbf": 25},
    "no beginning": {"iat": ...},
    "an end as text": {"exp": "soon"},
    "no name": {"jti": ...},
    "a name that is none": {"jti": ""},
    "a name too long": {"jti": "x" * 129},
    "a name that is a number": {"jti": 7},
    "another issuer": {"iss": "{url}"},
    "another subject": {"sub": "admin"},
    "no subject": {"sub": ...},
    "a claim of an access token": {"scope": "predict"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_claim_is_a_wrong_client(signer: SigningClient, changes: dict[str, Any]) -> None:
    """Each one alone, signed with the right key, is refused like a wrong secret; small numbers are seconds from now."""

    def fill(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [fill(name, each) for each in value]
        if isinstance(value, str):
            return value.replace("{url}", signer.url)
        return int(time.time()) + value if name in ("iat", "exp", "nbf") and value is not ... else value

    assert is_unknown(
        signer.ask(signer.assertion(**{name: fill(name, each) for name, each in changes.items()}))
    )


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"kid": "k2"},
        {"jwk": {}},
        {"jku": "https://x"},
        {"crit": ["exp"]},
        {"typ": "application/at+jwt"},
    ],
    ids=repr,
)
def test_a_wrong_header_is_a_wrong_client(signer: SigningClient, header: dict[str, Any]) -> None:
    """Nothing in a header is trusted, and the type of an access token is another's."""
    assert is_unknown(signer.ask(signer.assertion(header)))


def test_who_has_one_key_need_not_name_it(signer: SigningClient) -> None:
    """Without kid, the only key is meant; types that are usual are taken."""
    for typ in ("JWT", "client-authentication+jwt"):
        assert signer.ask(signer.assertion({"typ": typ})).status_code == 200
    assert signer.ask(jwt.encode(signer.claims(), signer.key, "ES256")).status_code == 200


def test_what_nobody_signed_is_refused(doors: Service, admin: Caller, signer: SigningClient) -> None:
    """No signature, the public key as a shared one, a stranger's key, another client's key, another algorithm."""
    public = signer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    shared = by_hand({"alg": "HS256", "kid": "k1"}, signer.claims())
    message = shared.rpartition(".")[0]
    mac = urlsafe_b64encode(hmac.digest(public, message.encode(), hashlib.sha256)).rstrip(b"=").decode()
    other = registered(doors, admin)
    strange = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    for forged in (
        by_hand({"alg": "none", "kid": "k1"}, signer.claims()),
        by_hand({"alg": "ES256", "kid": "k1"}, signer.claims(), bytes(64)),
        f"{message}.{mac}",
        jwt.encode(signer.claims(), new_key(), "ES256", {"kid": "k1"}),
        jwt.encode(signer.claims(), other.key, "ES256", {"kid": "k1"}),
        jwt.encode(signer.claims(), strange, "RS256", {"kid": "k1"}),
        "garbage", "a.b.c", "x" * 5000, "e30.e30.e30",
    ):  # fmt: skip
        assert is_unknown(signer.ask(forged)), forged


def test_a_claim_that_is_there_twice_is_refused(signer: SigningClient) -> None:
    """Two readers could read it differently."""
    claims = json.dumps(signer.claims())
    twice = claims[:-1] + ', "aud": "https://elsewhere.example"}'
    parts = [urlsafe_b64encode(each.encode()).rstrip(b"=") for each in ('{"alg":"ES256","kid":"k1"}', twice)]
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    signature = urlsafe_b64encode(algorithm.sign(b".".join(parts), signer.key)).rstrip(b"=")

    assert is_unknown(signer.ask(b".".join([*parts, signature]).decode()))


def test_tokens_and_assertions_are_not_each_other(
    doors: Service, admin: Caller, signer: SigningClient
) -> None:
    """An access token signs nobody in, even where its key is registered, and an assertion opens nothing."""
    token = signer.ask(signer.assertion()).json()["access_token"]
    assert is_unknown(signer.ask(token))
    (ours,) = httpx.get(f"{doors.url}/.well-known/jwks.json").json()["keys"]
    path = f"/v1/clients/{signer.client_id}/keys"
    before = admin.http.get(path)
    mixed = {"keys": [*before.json()["keys"], ours]}
    assert admin.http.put(path, json=mixed, headers={"If-Match": before.headers["etag"]}).status_code == 201

    assert is_unknown(signer.ask(token))
    headers = {"Authorization": f"Bearer {signer.assertion()}"}
    assert httpx.get(f"{doors.url}/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "form",
    [
        {"client_secret": "x"},
        {"client_id": "x", "client_secret": "y"},
        {"client_assertion_type": "urn:other"},
        {"client_assertion_type": ""},
        {"client_assertion": ""},
    ],
    ids=repr,
)
def test_one_way_at_a_time(signer: SigningClient, form: dict[str, str]) -> None:
    """Two ways to prove who one is, or half of one, are an ambiguity: 400, and nothing was used."""
    assertion = signer.assertion()

    answer = signer.ask(assertion, **form)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert signer.ask(assertion, client_id=signer.client_id).status_code == 200


def test_basic_beside_an_assertion_is_refused(doors: Service, signer: SigningClient) -> None:
    """HTTP Basic and an assertion are two ways; an id in the form that is another's is a wrong client."""
    sent = {**GRANT, "client_assertion_type": TYPE, "client_assertion": signer.assertion()}

    answer = httpx.post(f"{doors.url}/oauth/token", data=sent, auth=(signer.client_id, "x"))

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert is_unknown(signer.ask(signer.assertion(), client_id="admin"))
