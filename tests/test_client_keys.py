"""The public keys a client is known by: registered by who may, seen before a change, on record, and verified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import auditor, sealed
from tests.service import Caller, Service, running
from tests.signing import SigningClient, is_unknown, jwk_of, new_key, registered, settled


@pytest.fixture(scope="module")
def doors(short_folder: Path) -> Iterator[Service]:
    """Run a service with two doors."""
    with running(short_folder / "keys", ONRECORD_DOORS="2") as service:
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


def test_keys_are_changed_by_who_has_seen_them(doors: Service, admin: Caller, signer: SigningClient) -> None:
    """What the old key signs gets no token any more; without If-Match, or with an old one, nothing changes."""
    path, new = f"/v1/clients/{signer.client_id}/keys", new_key()
    seen = admin.http.get(path)
    body = {"keys": [jwk_of(new, "k1")]}

    assert admin.http.put(path, json=body).status_code == 428
    done = admin.http.put(path, json=body, headers={"If-Match": seen.headers["etag"]})
    assert (
        admin.http.put(path, json={"keys": []}, headers={"If-Match": seen.headers["etag"]}).status_code == 412
    )

    assert (done.status_code, done.json()["client_id"]) == (201, signer.client_id)
    assert admin.http.get(path).json() == done.json()["jwks"]
    assert done.headers["onrecord-receipt"]
    assert is_unknown(signer.ask(signer.assertion()))
    signer.key = new
    assert signer.ask(signer.assertion()).status_code == 200


def test_the_command_line_registers_keys(doors: Service, signer: SigningClient, tmp_path: Path) -> None:
    """`client keys` replaces them; a file that is none of ours is refused with the reason."""
    signer.key = new_key()
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk_of(signer.key)]}))
    doors.command("client", "keys", signer.client_id, "--jwks", str(file))
    assert signer.ask(signer.assertion()).status_code == 200

    for content, reason in (("nonsense", "not JSON"), ('{"keys": [{"kty": "EC"}]}', "/keys/0")):
        file.write_text(content)
        refused = doors.command("client", "keys", signer.client_id, "--jwks", str(file), check=False)
        assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
    assert signer.ask(signer.assertion()).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"d": "x" * 43},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"x": "AAAA"},
        {"kid": ...},
        {"alg": "HS256"},
        {"alg": "RS256"},
    ],
    ids=repr,
)
def test_a_key_that_cannot_be_is_refused(
    admin: Caller, signer: SigningClient, change: dict[str, Any]
) -> None:
    """Private, symmetric, nameless, broken or ill-matched keys are 400, and the old ones stay."""
    jwk = {name: value for name, value in (jwk_of(new_key()) | change).items() if value is not ...}
    path = f"/v1/clients/{signer.client_id}/keys"

    answer = admin.http.put(path, json={"keys": [jwk]}, headers={"If-Match": "*"})

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/validation")
    assert signer.ask(signer.assertion()).status_code == 200


def test_nobody_takes_a_key_to_more_than_it_may(admin: Caller, signer: SigningClient) -> None:
    """To give a client a key is to become it, so it takes all its scopes."""
    admin.sign_in("clients:write models:read")

    answer = admin.http.put(
        f"/v1/clients/{signer.client_id}/keys", json={"keys": [jwk_of(new_key())]}, headers={"If-Match": "*"}
    )

    assert (answer.status_code, answer.json()["detail"].endswith(": introspect")) == (403, True)


def test_a_disabled_client_signs_in_vain(admin: Caller, signer: SigningClient) -> None:
    """Its key is as dead as a secret would be."""
    admin.http.put(f"/v1/clients/{signer.client_id}/status", json={"status": "disabled"})

    assert is_unknown(signer.ask(signer.assertion()))


def test_a_key_that_was_put_past_the_ledger_is_found(doors: Service, signer: SigningClient) -> None:
    """Whoever can write the database can give a client another key; verification says whose."""
    change = "UPDATE client SET jwks = ? WHERE client_id = ?"
    ((kept,),) = sealed.sql(
        doors.database_url, "SELECT jwks FROM client WHERE client_id = ?", signer.client_id
    )
    sealed.sql(doors.database_url, change, json.dumps({"keys": [jwk_of(new_key())]}), signer.client_id)
    try:
        found = doors.command("verify", check=False)
    finally:
        sealed.sql(doors.database_url, change, kept, signer.client_id)

    assert (found.returncode, f"client {signer.client_id}: jwks" in found.stdout) == (1, True)
