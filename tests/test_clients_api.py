"""Clients are made, rotated and turned away over HTTP; all is on record but the secrets, and nobody gains by it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import auditor, sealed
from tests.doors import FOLLOWED_WITHIN_S, until_every_door_refuses
from tests.service import Caller, Service, running

ALL = "audit:erase audit:read clients:write introspect models:read models:write outcomes:write predict predictions:read"
GRANT = {"grant_type": "client_credentials"}
CHANGES = (
    ("GET", "/v1/clients", None),
    ("POST", "/v1/clients", {"name": "x", "scope": "predict"}),
    ("GET", "/v1/clients/{id}", None),
    ("POST", "/v1/clients/{id}/secrets", {}),
    ("PUT", "/v1/clients/{id}/status", {"status": "disabled"}),
    ("POST", "/v1/clients/{id}/revocation", None),
)


@pytest.fixture(scope="module")
def doors(short_folder: Path) -> Iterator[Service]:
    """Run a service with two doors, so that one has to learn what another was told."""
    with running(short_folder / "clients", ONRECORD_DOORS="2") as service:
        yield service
        assert auditor.audit(service.database_url) == []
        service.stop()
        assert service.command("verify", check=False).returncode in (0, 3)


@pytest.fixture
def admin(doors: Service) -> Iterator[Caller]:
    """Sign in with every scope there is."""
    with doors.caller("admin") as caller:
        yield caller


def _made(admin: Caller, scope: str = "models:read predict", name: str = "night batch") -> Any:
    answer = admin.http.post("/v1/clients", json={"name": name, "scope": scope})
    assert answer.status_code == 201, answer.text
    return answer.json()


def _knows(service: Service, client_id: str, secret: str) -> bool:
    answer = httpx.post(f"{service.url}/oauth/token", data=GRANT, auth=(client_id, secret))
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def _record(admin: Caller, answer: httpx.Response) -> Any:
    return admin.http.get(answer.headers["Location"]).json()


def test_a_client_is_made_and_works(doors: Service, admin: Caller) -> None:
    """Its secret is shown once, gets a token for its scopes, and what was done is on record with a receipt."""
    answer = admin.http.post(
        "/v1/clients", json={"name": "Night Batch", "scope": "predict models:read predict"}
    )
    made = answer.json()

    assert (answer.status_code, made["name"], made["scope"]) == (201, "Night Batch", "models:read predict")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["onrecord-receipt"]
    record = _record(admin, answer)
    assert (record["kind"], record["client"]) == ("client", admin.client_id)
    with Caller(doors.url, made["client_id"], made["client_secret"]) as caller:
        assert caller.http.get("/v1/models").status_code == 200
        assert caller.http.get("/v1/clients").status_code == 403
    shown = admin.http.get(f"/v1/clients/{made['client_id']}").json()
    assert (shown["status"], shown["scope"], len(shown["secrets"])) == ("active", "models:read predict", 1)
    listed = admin.http.get("/v1/clients").json()["clients"]
    assert [each for each in listed if each["client_id"] == made["client_id"]] == [
        {name: value for name, value in shown.items() if name != "secrets"}
    ]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_without_the_scope_nothing_is_seen_or_changed(
    doors: Service, admin: Caller, method: str, path: str, body: Any
) -> None:
    """A token of every other scope is refused before anybody looks whether the client exists."""
    admin.sign_in(ALL.replace("clients:write ", ""))
    for client_id in (admin.client_id, "nobody-1"):
        answer = admin.http.request(method, path.replace("{id}", client_id), json=body)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")


@pytest.mark.parametrize(("method", "path", "body"), CHANGES[2:])
def test_an_unknown_client_is_not_found(admin: Caller, method: str, path: str, body: Any) -> None:
    """404 as a problem, and nothing is recorded."""
    answer = admin.http.request(method, path.replace("{id}", "nobody-1"), json=body)

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_nobody_makes_more_than_it_is(doors: Service, admin: Caller) -> None:
    """A token with clients:write makes no client, and takes no secret of one, that may do what it may not."""
    admin.sign_in("clients:write predict")

    refused = admin.http.post("/v1/clients", json={"name": "mole", "scope": "predict audit:erase audit:read"})
    own = admin.http.post(f"/v1/clients/{admin.client_id}/secrets", json={})

    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    assert refused.json()["detail"].endswith("audit:erase audit:read")
    assert 'scope="audit:erase audit:read"' in refused.headers["www-authenticate"]
    assert own.status_code == 403
    assert "client_secret" not in refused.text + own.text
    assert not [each for each in admin.http.get("/v1/clients").json()["clients"] if each["name"] == "mole"]
    assert _made(admin, "predict")["scope"] == "predict"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x", "scope": "predict root"}, "/scope"),
        ({"name": "x", "scope": ""}, "/scope"),
        ({"name": "x", "scope": "predict  predict"}, "/scope"),
        ({"name": "a/b", "scope": "predict"}, "/name"),
        ({"name": "x"}, "/scope"),
        ({"name": "x", "scope": "predict", "client_secret": "mine"}, "/client_secret"),
    ],
)
def test_a_client_that_cannot_be_is_refused(admin: Caller, body: dict[str, str], pointer: str) -> None:
    """The contract names the culprit; nobody chooses a secret."""
    answer = admin.http.post("/v1/clients", json=body)

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/validation")
    assert pointer in [each["pointer"] for each in answer.json()["errors"]]


def test_two_secrets_work_until_the_old_one_ends(doors: Service, admin: Caller) -> None:
    """Without a grace both go on; with one the old secret dies when it ends, with none at once."""
    made = _made(admin)
    client_id, path = made["client_id"], f"/v1/clients/{made['client_id']}"
    second = admin.http.post(f"{path}/secrets", json={})
    assert (second.status_code, second.headers["cache-control"]) == (201, "no-store")
    secrets = [made["client_secret"], second.json()["client_secret"]]
    assert [_knows(doors, client_id, each) for each in secrets] == [True, True]

    third = admin.http.post(f"{path}/secrets", json={"previous_expires_in": 3}).json()
    secrets.append(third["client_secret"])
    shown = admin.http.get(path).json()["secrets"]
    assert [_knows(doors, client_id, each) for each in (secrets[0], secrets[2])] == [False, True]
    assert ["expires_at" in each for each in shown] in ([True, False], [False])
    until = time.monotonic() + FOLLOWED_WITHIN_S
    while _knows(doors, client_id, secrets[1]):
        assert time.monotonic() < until
        time.sleep(0.1)

    fourth = admin.http.post(f"{path}/secrets", json={"previous_expires_in": 0})
    assert [_knows(doors, client_id, each) for each in secrets] == [False, False, False]
    assert _knows(doors, client_id, fourth.json()["client_secret"])
    assert fourth.headers["onrecord-receipt"]


@pytest.mark.parametrize("grace", [-1, 31_536_001, "60", 1.5, None])
def test_a_grace_is_whole_seconds_up_to_a_year(admin: Caller, grace: Any) -> None:
    """Everything else is 400 and changes no secret."""
    path = f"/v1/clients/{admin.client_id}/secrets"

    answer = admin.http.post(path, json={"previous_expires_in": grace})

    assert answer.status_code == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/previous_expires_in"]


def test_the_command_line_ends_the_old_secret(doors: Service, admin: Caller) -> None:
    """`client rotate --previous-expires-in` says the same as the API."""
    made = _made(admin)

    done = json.loads(
        doors.command("client", "rotate", made["client_id"], "--previous-expires-in", "24h").stdout
    )

    assert done["previous_expires_in"] == 86400
    first, second = admin.http.get(f"/v1/clients/{made['client_id']}").json()["secrets"]
    assert ("expires_at" in first, "expires_at" in second) == (True, False)
    assert all(_knows(doors, made["client_id"], each["client_secret"]) for each in (made, done))


def test_a_disabled_client_is_out_at_every_door(doors: Service, admin: Caller) -> None:
    """No secret gets it a token, those it has die within seconds, and disabling it again changes nothing."""
    made = _made(admin)
    with Caller(doors.url, made["client_id"], made["client_secret"]) as leaver:
        path = f"/v1/clients/{made['client_id']}"
        first, again = (admin.http.put(f"{path}/status", json={"status": "disabled"}) for _ in range(2))

        assert (first.status_code, again.status_code) == (201, 200)
        assert first.content == again.content
        assert "location" not in again.headers
        assert not _knows(doors, made["client_id"], made["client_secret"])
        until_every_door_refuses(doors, leaver)
        shown = admin.http.get(path).json()
        assert (shown["status"], shown["disabled_at"]) == ("disabled", first.json()["disabled_at"])


def test_all_tokens_of_a_client_are_voided(doors: Service, admin: Caller) -> None:
    """What it has got dies at every door; its secret gets it a new one."""
    made = _made(admin)
    with Caller(doors.url, made["client_id"], made["client_secret"]) as leaked:
        answer = admin.http.post(f"/v1/clients/{made['client_id']}/revocation")

        assert answer.status_code == 201
        until_every_door_refuses(doors, leaked)
        time.sleep(1.1)  # tokens say whole seconds: one of the same second would be refused, too
        leaked.sign_in()
        assert leaked.http.get("/v1/models").status_code == 200


def test_a_secret_is_nowhere(doors: Service, admin: Caller) -> None:
    """Neither the files of the database, the log, any record nor any answer has one, but the one that showed it."""
    made = _made(admin)
    rotated = admin.http.post(f"/v1/clients/{made['client_id']}/secrets", json={}).json()
    admin.http.get(f"/v1/clients/{made['client_id']}")
    secrets = [made["client_secret"].encode(), rotated["client_secret"].encode()]

    kept = [path.read_bytes() for path in doors.var.glob("onrecord.db*")]
    answers = [admin.http.get(f"/v1/clients/{made['client_id']}"), admin.http.get("/v1/clients")]
    rows = sealed.sql(doors.database_url, "SELECT p.input, p.output, p.actor, p.meta FROM payload p")

    assert any(made["client_id"].encode() in each for each in kept)
    for secret in secrets:
        assert not [each for each in (*kept, doors.log().encode()) if secret in each]
        assert not [each for each in answers if secret in each.content]
        assert not [row for row in rows if any(secret in bytes(each) for each in row)]
