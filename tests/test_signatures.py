"""Where publishers are configured, a version loads only when one of them has signed exactly it."""

from __future__ import annotations

import json
import pickle
import shutil
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from api.engine.loading import Loading
from models import registry, sign, signing
from models.signing import PublishersRefused
from tests.artefacts import MODEL, Shelf, TouchesAFile, line
from tests.engines import settings_of
from tests.test_artefacts import refusal


def run(*arguments: object) -> Result:
    """Run `python -m models.sign …`."""
    return CliRunner().invoke(sign.main, [str(each) for each in arguments])


@dataclass(frozen=True)
class Press:
    """A publisher's key, and the store it signs in."""

    shelf: Shelf
    key: Path

    def sign(self, version: str = "1") -> None:
        done = run(MODEL, version, "--key", self.key, "--store", self.shelf.store)
        assert done.exit_code == 0, done.output

    @property
    def public(self) -> tuple[bytes, ...]:
        return signing.publishers(self.key.with_name(f"{self.key.name}.pub"))

    @property
    def envelope(self) -> Path:
        return self.shelf.folder() / signing.FILE


def a_press(shelf: Shelf, key: Path) -> Press:
    """Make a key as a publisher does."""
    assert run("keygen", key).exit_code == 0
    return Press(shelf, key)


@pytest.fixture
def press(tmp_path: Path) -> Press:
    """Make a store with a signed version 1, and the key of who signed it."""
    made = a_press(Shelf(tmp_path / "store"), tmp_path / "key")
    made.sign()
    return made


def test_what_a_publisher_signed_loads(press: Press) -> None:
    """A signed version loads under the publisher's key, alone or among others, and without any key as before."""
    found = press.shelf.registered()
    other = a_press(press.shelf, press.key.with_name("other"))

    for publishers in (press.public, (*other.public, *press.public), ()):
        assert press.shelf.load(found, publishers=publishers).manifest.version == "1"


def test_the_signature_is_plain_dsse(press: Press) -> None:
    """Any program that knows DSSE and Ed25519 can check it; the payload says name, version and both digests."""
    envelope = json.loads(press.envelope.read_text())
    payload, found = b64decode(envelope["payload"]), press.shelf.registered()
    kind = envelope["payloadType"]
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    public = ed25519.Ed25519PublicKey.from_public_bytes(press.public[0])

    public.verify(b64decode(envelope["signatures"][0]["sig"]), signed)
    with pytest.raises(InvalidSignature):
        public.verify(b64decode(envelope["signatures"][0]["sig"]), payload)
    assert json.loads(payload) == {
        "model": MODEL, "version": "1", "pickle": found.digest, "manifest": found.manifest
    }  # fmt: skip


def test_an_unsigned_version_is_refused(press: Press) -> None:
    """Without a signature nothing of the version is unpickled."""
    press.envelope.unlink()

    assert "signature cannot be opened" in refusal(
        press.shelf, press.shelf.registered(), publishers=press.public
    )


def test_a_stranger_signs_in_vain(press: Press, tmp_path: Path) -> None:
    """A hostile pickle with a perfect manifest, signed by another key, is refused by that key's name and never runs."""
    stranger = a_press(press.shelf, tmp_path / "stranger")
    canary = tmp_path / "canary"
    found = press.shelf.put("1", pickle.dumps(TouchesAFile(canary), protocol=5), globals=(("posix", "open"),))
    statement = signing.Statement(model=MODEL, version="1", pickle=found.digest, manifest=str(found.manifest))
    press.envelope.write_bytes(signing.sign(statement, sign._private(stranger.key)))

    reason = refusal(press.shelf, found, publishers=press.public)
    assert f"names the key {signing.name_of(stranger.public[0])}" in reason
    assert signing.name_of(press.public[0]) in reason
    assert not canary.exists()


def test_a_name_in_the_envelope_proves_nothing(press: Press, tmp_path: Path) -> None:
    """A stranger who gives the publisher's key as his own is refused all the same."""
    stranger = a_press(press.shelf, tmp_path / "stranger")
    stranger.sign()
    envelope = json.loads(press.envelope.read_text())
    envelope["signatures"][0]["keyid"] = signing.name_of(press.public[0])
    press.envelope.write_text(json.dumps(envelope))

    assert "none of the publishers" in refusal(press.shelf, press.shelf.registered(), publishers=press.public)


def test_a_signature_of_another_version_is_refused(press: Press) -> None:
    """A newer version's folder with the older version's signature, or with all its files, is not that version."""
    found = press.shelf.put_estimator("2", line(), [(0.0, 30.0)])
    shutil.copy(press.envelope, press.shelf.folder("2") / signing.FILE)
    assert "for version '1', this is '2'" in refusal(press.shelf, found, publishers=press.public)

    for name in ("model.pkl", "manifest.json"):
        shutil.copy(press.shelf.folder() / name, press.shelf.folder("2") / name)
    with pytest.raises(registry.ModelRefused, match="version '1'; restore the right folder"):
        registry.load(press.shelf.store, MODEL, "2", None, registry.Terms(publishers=press.public))


def test_a_signature_of_another_model_is_refused(press: Press) -> None:
    """A publisher's word for one model says nothing about another one."""
    statement = signing.Statement(model="iris", version="1", pickle="ab" * 32, manifest="cd" * 32)
    press.envelope.write_bytes(signing.sign(statement, sign._private(press.key)))

    assert "for model 'iris', this is 'housing'" in refusal(
        press.shelf, press.shelf.registered(), publishers=press.public
    )


def test_what_was_signed_earlier_under_the_same_name_is_refused(press: Press) -> None:
    """An older build of a version, replayed whole with its true signature, is not the build that was registered."""
    old = press.shelf.store.parent / "old"
    shutil.copytree(press.shelf.folder(), old)
    found = press.shelf.put_estimator("1", line(), [(0.0, 30.0)])
    press.sign()
    assert press.shelf.load(found, publishers=press.public)

    shutil.rmtree(press.shelf.folder())
    shutil.copytree(old, press.shelf.folder())
    assert f"registered is {found.manifest}" in refusal(press.shelf, found, publishers=press.public)


@pytest.mark.parametrize("name", ["model.pkl", "manifest.json"])
def test_a_signature_covers_both_files(press: Press, name: str) -> None:
    """Who changes a file and the database after the signature is refused by the signature."""
    if name == "model.pkl":
        found = press.shelf.put("1", (press.shelf.folder() / name).read_bytes() + b"!")
        member = "pickle"
    else:
        found = press.shelf.put("1", (press.shelf.folder() / "model.pkl").read_bytes(), title="x")
        member = "manifest"

    assert f"its signature is for {member} '" in refusal(press.shelf, found, publishers=press.public)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda envelope: "",
        lambda envelope: "[]",
        lambda envelope: "[" * 10_000,
        lambda envelope: json.dumps(envelope | {"payloadType": "text/plain"}),
        lambda envelope: json.dumps(envelope | {"signatures": {}}),
        lambda envelope: json.dumps(envelope | {"signatures": []}),
        lambda envelope: json.dumps(envelope | {"payload": "!"}),
        lambda envelope: json.dumps(envelope | {"payload": b64encode(b"{}").decode()}),
        lambda envelope: json.dumps(envelope | {"signatures": [{"keyid": 1, "sig": ""}]}),
        lambda envelope: json.dumps(envelope | {"signatures": [{"keyid": "a", "sig": "YQ=="}]}),
    ],
)
def test_a_broken_envelope_is_refused(press: Press, spoil: Any) -> None:
    """Whatever stands in the place of a signature, the version is refused by a sentence and not by a trace."""
    press.envelope.write_text(spoil(json.loads(press.envelope.read_text())))

    assert "its signature" in refusal(press.shelf, press.shelf.registered(), publishers=press.public)


def test_keys_are_read_from_a_file_or_a_folder(press: Press) -> None:
    """A folder gives every public key in it, and passes over private keys and notes."""
    folder = press.key.parent / "publishers"
    folder.mkdir()
    a_press(press.shelf, folder / "two")
    shutil.copy(press.key.with_name("key.pub"), folder / "one.pem")

    assert len(signing.publishers(folder)) == 2
    assert signing.publishers(folder)[:1] == press.public


def test_publishers_that_cannot_be_read_stop_the_start(press: Press, tmp_path: Path) -> None:
    """A missing file, an empty folder, a key of another kind, a private key, a file anyone may write: each by name."""
    (tmp_path / "empty").mkdir()
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "ec.pem").write_bytes(
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(pem, form)
    )
    (tmp_path / "open.pem").write_bytes(press.key.with_name("key.pub").read_bytes())
    (tmp_path / "open.pem").chmod(0o666)

    for name in ("missing", "empty", "ec.pem", "open.pem", "key"):
        with pytest.raises(PublishersRefused, match=name):
            Loading(settings_of(tmp_path, ONRECORD_PUBLISHERS=str(tmp_path / name)))


def test_a_publisher_signs_only_what_loads(press: Press) -> None:
    """A version that would be refused is not signed, and the reason is shown."""
    press.shelf.put("2", b"\x80\x05N.")
    done = run(MODEL, "2", "--key", press.key, "--store", press.shelf.store)

    assert done.exit_code == 1
    assert "is refused" in done.output
    assert not (press.shelf.folder("2") / signing.FILE).exists()


def test_a_key_is_kept_private_and_never_overwritten(press: Press) -> None:
    """The private half is born with mode 0600; a second keygen refuses; one that others may read is not used."""
    assert press.key.stat().st_mode & 0o777 == 0o600
    before = press.key.read_bytes()
    assert "never overwritten" in run("keygen", press.key).output
    assert press.key.read_bytes() == before

    press.key.chmod(0o644)
    assert "chmod 600" in run(MODEL, "1", "--key", press.key, "--store", press.shelf.store).output
