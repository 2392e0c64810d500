"""OAuth clients that nobody here wrote get a token, use it, have it explained, and take it back."""

from __future__ import annotations

import httpx
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from oauthlib.oauth2 import BackendApplicationClient

from tests.service import Caller, Service

SCOPE = "models:read predict"


def test_authlib_goes_the_whole_way(service: Service, admin: Caller) -> None:
    """Authlib finds the addresses in the metadata, and understands every answer."""
    about = httpx.get(f"{service.url}/.well-known/oauth-authorization-server").json()
    with OAuth2Client(
        admin.client_id, admin.client_secret, scope=SCOPE, token_endpoint=about["token_endpoint"]
    ) as client:
        token = client.fetch_token(about["token_endpoint"], grant_type="client_credentials")
        used = client.get(f"{service.url}/v1/models")
        explained = client.introspect_token(about["introspection_endpoint"], token=token["access_token"])
        revoked = client.revoke_token(about["revocation_endpoint"], token=token["access_token"])
        dead = client.introspect_token(about["introspection_endpoint"], token=token["access_token"])
        refused = client.get(f"{service.url}/v1/models")

    assert (token["token_type"], set(token["scope"].split())) == ("Bearer", set(SCOPE.split()))
    assert used.status_code == 200
    assert (explained.json()["active"], explained.json()["client_id"]) == (True, admin.client_id)
    assert revoked.status_code == 200
    assert dead.json() == {"active": False}
    assert refused.status_code == 401


def test_oauthlib_goes_the_whole_way(service: Service, demo: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oauthlib writes the requests and reads the answers; httpx only carries them."""
    monkeypatch.setenv(
        "OAUTHLIB_INSECURE_TRANSPORT", "1"
    )  # TLS ends in front of a service, and here there is no front
    client = BackendApplicationClient(demo.client_id, scope=SCOPE.split())
    basic = httpx.BasicAuth(demo.client_id, demo.client_secret)
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    body = client.prepare_request_body()
    answer = httpx.post(f"{service.url}/oauth/token", content=body, headers=form, auth=basic)
    token = client.parse_request_body_response(answer.text, scope=SCOPE.split())
    url, headers, _ = client.add_token(f"{service.url}/v1/models")
    used = httpx.get(url, headers=headers)
    url, headers, body = client.prepare_token_revocation_request(
        f"{service.url}/oauth/revoke", token["access_token"]
    )
    revoked = httpx.post(url, content=body, headers=headers, auth=basic)
    url, headers, _ = client.add_token(f"{service.url}/v1/models")

    assert set(token["scope"]) == set(SCOPE.split())
    assert used.status_code == 200
    assert revoked.status_code == 200
    assert httpx.get(url, headers=headers).status_code == 401
