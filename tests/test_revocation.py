"""A token that was taken back is refused by every door, and only that token; what a token is good for can be asked."""

from __future__ import annotations

import sqlite3
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests import auditor
from tests.doors import until_every_door_refuses
from tests.service import Caller, Service, running

INACTIVE = {"active": False}


@pytest.fixture(scope="module")
def doors(short_folder: Path) -> Iterator[Service]:
    """Run a service with two doors, so that one has to learn what another was told."""
    with running(short_folder / "revoking", ONRECORD_DOORS="2") as service:
        yield service
        assert auditor.audit(service.database_url) == []


@pytest.fixture
def caller(doors: Service) -> Iterator[Caller]:
    """Sign in with a token of this test's own."""
    with doors.caller("demo") as caller:
        yield caller


@pytest.fixture
def admin(doors: Service) -> Iterator[Caller]:
    """Sign in with every scope there is."""
    with doors.caller("admin") as caller:
        yield caller


def _token(caller: Caller) -> str:
    return str(caller.http.headers["Authorization"]).removeprefix("Bearer ")


def _ask(caller: Caller, what: str, **form: str) -> httpx.Response:
    return httpx.post(f"{caller.url}/oauth/{what}", data=form, auth=(caller.client_id, caller.client_secret))


def _status(caller: Caller) -> int:
    """Ask over a connection of its own, which either door may take."""
    headers = {"Authorization": caller.http.headers["Authorization"]}
    return httpx.get(f"{caller.url}/v1/models", headers=headers).status_code


def _revocations(service: Service) -> int:
    with closing(sqlite3.connect(service.database_url.removeprefix("sqlite:///"))) as database:
        return int(database.execute("SELECT count(*) FROM record WHERE kind = 11").fetchone()[0])


def test_a_revoked_token_is_refused_by_every_door(doors: Service, caller: Caller, admin: Caller) -> None:
    """The client takes it back; its other token goes on working; the revocation is on record, once."""
    before = _revocations(doors)
    with doors.caller("demo") as other:
        first, again = (_ask(caller, "revoke", token=_token(caller)) for _ in range(2))

        until_every_door_refuses(doors, caller)
        assert (first.status_code, first.content, again.status_code) == (200, b"", 200)
        assert first.headers["cache-control"] == "no-store"
        assert _ask(admin, "introspect", token=_token(caller)).json() == INACTIVE
        assert _status(other) == 200
        assert _revocations(doors) == before + 1


def test_a_revocation_outlives_a_restart(doors: Service, caller: Caller) -> None:
    """What was revoked is refused from the first request after a start, too."""
    _ask(caller, "revoke", token=_token(caller))
    doors.stop()

    doors.start()

    assert _status(caller) == 401


def test_both_signatures_of_a_revoked_token_are_refused(doors: Service, caller: Caller) -> None:
    """ECDSA lets anybody write a second valid signature; it is the same token, and dies with it."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, signature = _token(caller).rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    text = f"{head}.{urlsafe_b64encode(mirrored).decode().rstrip('=')}"
    caller.http.headers["Authorization"] = f"Bearer {text}"
    assert _status(caller) == 200

    caller.http.headers["Authorization"] = f"Bearer {head}.{signature}"
    _ask(caller, "revoke", token=_token(caller))
    caller.http.headers["Authorization"] = f"Bearer {text}"

    until_every_door_refuses(doors, caller)


@pytest.mark.parametrize("text", ["garbage", "a.b.c", "x" * 4096, " "])
def test_of_other_texts_nothing_is_said(caller: Caller, text: str) -> None:
    """Whoever asks learns nothing from the answer, and nothing is done."""
    answer = _ask(caller, "revoke", token=text)

    assert (answer.status_code, answer.content) == (200, b"")
    assert _status(caller) == 200


def test_a_client_cannot_revoke_the_token_of_another(caller: Caller, admin: Caller) -> None:
    """It is answered as if it had; the token goes on working."""
    answer = _ask(caller, "revoke", token=_token(admin))

    assert answer.status_code == 200
    assert _status(admin) == 200


def test_all_tokens_of_a_client_can_be_voided(doors: Service, admin: Caller) -> None:
    """After a leak the operator voids what a client holds; the client asks for a new token and goes on."""
    with doors.caller("demo") as leaked:
        doors.command("client", "revoke", leaked.client_id)

        until_every_door_refuses(doors, leaked)
        time.sleep(1.1)  # tokens say whole seconds: one of the same second would be refused, too
        leaked.sign_in()
        assert _status(leaked) == 200
        assert _status(admin) == 200


def test_a_token_is_explained_to_who_may_ask(caller: Caller, admin: Caller) -> None:
    """Of a live token everything it carries is said; of garbage only that it is not active."""
    found = _ask(admin, "introspect", token=_token(caller)).json()

    assert found["active"] is True
    assert (found["client_id"], found["sub"], found["token_type"]) == (
        caller.client_id,
        caller.client_id,
        "Bearer",
    )
    assert found["exp"] - found["iat"] == 600
    assert "predict" in found["scope"].split()
    assert _ask(admin, "introspect", token="garbage").json() == INACTIVE


def test_who_may_not_ask_is_told_so(caller: Caller) -> None:
    """Without the scope `introspect`: 403; without authentication 401; without a token 400."""
    url = f"{caller.url}/oauth/introspect"

    refused = _ask(caller, "introspect", token=_token(caller))

    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    assert 'scope="introspect"' in refused.headers["www-authenticate"]
    assert httpx.post(url, data={"token": _token(caller)}).json()["error"] == "invalid_client"
    assert httpx.post(url, data={"token": _token(caller)}, auth=("x", "y")).status_code == 401
    assert _ask(caller, "revoke", token_type_hint="access_token").json()["error"] == "invalid_request"


def test_a_token_voids_itself_and_nothing_else(caller: Caller, doors: Service) -> None:
    """Shown as Bearer and named in the form it is void; it voids no other, not all of its client's, explains none."""
    with doors.caller("demo") as other:
        mine, theirs = _token(caller), _token(other)

        def ask(what: str, **form: str) -> int:
            bearer = {"Authorization": f"Bearer {mine}"}
            return httpx.post(f"{doors.url}/oauth/{what}", data=form, headers=bearer).status_code

        refused = [
            ask("revoke", token=theirs),
            ask("revoke", token=mine, every="true"),
            ask("introspect", token=mine),
            _status(caller),
        ]
        done = ask("revoke", token=mine)
        until_every_door_refuses(doors, caller)

        assert refused == [401, 401, 401, 200]
        assert (done, ask("revoke", token=mine), _status(other)) == (200, 401, 200)
