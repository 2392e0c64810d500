"""Keys that sign tokens come and go while doors run: no good token is refused, none of a removed key lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api import keyring, keys
from api.jwks import NoKey, SigningKey
from api.keyring import OUTLIVES_S, PUBLISHED_S, KeyChangeRefused
from api.keys import KeyRefused
from tests.proxy import wait
from tests.service import Caller, Service, running

NOW = 1_800_000_000
DOORS = 2


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """Make the keys of a fresh service."""
    keys.create(tmp_path, "ES256")
    return tmp_path


def _prepare(var: Path, at_s: int = NOW) -> str:
    pem, made = keyring.new_key("ES256")
    keyring.prepare(var, pem, at_s)
    return made.verifying.kid


def test_a_next_key_is_published_before_it_signs(var: Path) -> None:
    """It verifies at once, signs only when told, and not before every verifier can have seen it."""
    kid = _prepare(var)
    ring = keyring.read(var)

    assert kid in {each.kid for each in ring.verifying(NOW)}
    assert ring.active.verifying.kid != kid
    with pytest.raises(KeyChangeRefused, match="wait 1 seconds"):
        keyring.promised(ring, NOW + PUBLISHED_S - 1, at_once=False)

    keyring.rotate(ring, keyring.promised(ring, NOW + PUBLISHED_S, at_once=False), NOW + PUBLISHED_S)

    assert keyring.read(var).active.verifying.kid == kid


def test_a_replaced_key_verifies_until_its_last_token_is_dead(var: Path) -> None:
    """Then it is gone by itself, and the next rotation removes its file."""
    old = keyring.read(var).active.verifying.kid
    _prepare(var)
    ring = keyring.read(var)
    keyring.rotate(ring, keyring.promised(ring, NOW, at_once=True), NOW)
    ring = keyring.read(var)

    assert old in {each.kid for each in ring.verifying(NOW + OUTLIVES_S - 1)}
    assert old not in {each.kid for each in ring.verifying(NOW + OUTLIVES_S)}
    assert [each.key.verifying.kid for each in keyring.forget(ring, NOW + OUTLIVES_S)] == [old]
    assert keyring.read(var).find(old) is None


def test_a_rotation_that_crashed_half_way_can_be_given_again(
    var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its two steps a key is there twice; both readings of the folder have an active key."""
    kid = _prepare(var)
    ring = keyring.read(var)
    chosen = keyring.promised(ring, NOW, at_once=True)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("crash")))
    with pytest.raises(OSError, match="crash"):
        keyring.rotate(ring, chosen, NOW)
    monkeypatch.undo()

    ring = keyring.read(var)
    assert len({each.kid for each in ring.verifying(NOW)}) == 2
    keyring.rotate(ring, keyring.promised(ring, NOW + 1, at_once=True), NOW + 1)

    assert keyring.read(var).active.verifying.kid == kid


def test_keys_that_may_not_sign_are_refused(var: Path) -> None:
    """A weak RSA key, another curve, a public key or garbage in the folder stop the start, naming the file."""
    for wrong in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(NoKey):
            SigningKey.of(wrong)
    (keyring.folder(var) / f"next-{NOW}.pem").touch(0o600)

    with pytest.raises(KeyRefused, match=rf"next-{NOW}\.pem is not a private key in PEM"):
        keyring.read(var)


@pytest.fixture(scope="module")
def rotating(short_folder: Path) -> Iterator[Service]:
    """Run a service whose keys these tests change."""
    with running(short_folder / "rotating", ONRECORD_DOORS=str(DOORS)) as service:
        yield service


def _kids(service: Service) -> set[str]:
    answer = httpx.get(f"{service.url}/.well-known/jwks.json")
    return {each["kid"] for each in answer.json()["keys"]}


def _until_all_doors_follow(service: Service) -> str:
    """Wait until every door has read the keys as they are; return the id of the one that signs."""
    kept = keyring.read(service.var).kept
    wanted = [(kept[0].key.verifying.kid, len(kept))] * DOORS
    wait(lambda: _known(service) == wanted)
    return wanted[0][0]


def _known(service: Service) -> list[tuple[str, int]]:
    """Find in the log what each door read last."""
    known = {}
    for line in service.log().splitlines():
        if '"token-keys-read"' in line and line.endswith("}"):
            said = json.loads(line)
            known[said["pid"]] = (said["active"], said["keys"])
    return list(known.values())


def _everywhere(caller: Caller) -> set[int]:
    """Ask over fresh connections, which the doors share."""
    token = {"Authorization": caller.http.headers["Authorization"]}
    return {httpx.get(f"{caller.url}/v1/models", headers=token).status_code for _ in range(12)}


def test_a_rotation_under_running_doors_refuses_nobody(rotating: Service) -> None:
    """Tokens of the old key and of the new one work on every door, all the way; each step is on record."""
    with rotating.caller("demo") as before, rotating.caller("admin") as admin:
        old = _kids(rotating)
        rotating.command("key", "prepare")
        refused = rotating.command("key", "rotate", check=False)
        rotating.command("key", "rotate", "--now")

        assert _until_all_doors_follow(rotating) not in old
        with rotating.caller("demo") as after:
            assert _everywhere(before) == _everywhere(after) == {200}
            assert after.predict("housing", {"age": 50}).status_code == 201
        assert before.predict("housing", {"age": 50}).status_code == 201

        assert refused.returncode == 2
        assert "or say --now" in refused.stderr
        assert old < _kids(rotating)
        listed = rotating.command("key", "list").stdout.splitlines()
        assert [line.split("\t")[1] for line in listed] == ["state", "active", "passive"]
        assert admin.http.get("/v1/models").status_code == 200


def test_a_removed_key_takes_its_tokens_with_it(rotating: Service) -> None:
    """After an emergency the tokens of the stolen key are refused by every door, and those of its successor are not."""
    kid = _until_all_doors_follow(rotating)
    with rotating.caller("demo") as stolen:
        assert (
            jwt.get_unverified_header(stolen.http.headers["Authorization"].removeprefix("Bearer "))["kid"]
            == kid
        )
        refused = rotating.command("key", "remove", kid, check=False)
        rotating.command("key", "prepare", "--algorithm", "RS256")
        rotating.command("key", "rotate", "--now")
        rotating.command("key", "remove", kid)

        _until_all_doors_follow(rotating)
        with rotating.caller("demo") as good:
            assert _everywhere(good) == {200}
        assert _everywhere(stolen) == {401}

        assert refused.returncode == 2
        assert "this key signs" in refused.stderr
        assert "there is no key -xyz" in rotating.command("key", "remove", "-xyz", check=False).stderr
        assert kid not in _kids(rotating)
