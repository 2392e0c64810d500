"""
Who published a version: an Ed25519 signature over its name, its version and the digests of its two files.

A digest that was registered stops whoever can write the store; a signature stops also whoever can write the
database. Neither stops a publisher who means harm. Pure: reads keys and envelopes, loads nothing.

Source: DSSE v1 (github.com/secure-systems-lab/dsse), envelope and pre-authentication encoding.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from models.files import FileRefused, read_once

FILE = "signature"
PAYLOAD_TYPE = "application/vnd.onrecord.version+json"
LARGEST_BYTES = 16_384
_KEY_BYTES = 4_096  # a PEM of an Ed25519 key has 113


class SignatureRefused(Exception):
    """A version is not signed as it must be; the message says by whom, over what, and what to do."""


class PublishersRefused(Exception):
    """The publishers' keys cannot be read, so no version could be believed; nothing was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a publisher signs: this name and version mean these bytes. Digests are lower-case hex SHA-256."""

    model: str
    version: str
    pickle: str
    manifest: str


def pae(payload_type: str, payload: bytes) -> bytes:
    """Write what is signed, so that no other type and payload are written the same way."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def name_of(public: bytes) -> str:
    """Name a public key by the first half of its SHA-256, for people and messages."""
    return hashlib.sha256(public).hexdigest()[:32]


def sign(statement: Statement, private: Ed25519PrivateKey) -> bytes:
    """Make the envelope that stands beside the manifest."""
    payload = json.dumps(asdict(statement), separators=(",", ":")).encode()
    signature = {
        "keyid": name_of(private.public_key().public_bytes_raw()),
        "sig": b64encode(private.sign(pae(PAYLOAD_TYPE, payload))).decode(),
    }
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": b64encode(payload).decode(),
        "signatures": [signature],
    }
    return json.dumps(envelope, indent=1).encode() + b"\n"


def insist(envelope: bytes, expected: Statement, publishers: Collection[bytes]) -> None:
    """
    Accept an envelope in which one of the publishers says exactly what is expected.

    Raises:
        SignatureRefused: it is none, no publisher has signed it, or it speaks of something else.
    """
    try:
        payload, signatures = _opened(json.loads(envelope))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SignatureRefused(f"its {FILE} is no DSSE envelope of a version; sign it again") from error
    if not any(_holds(payload, signature, public) for signature in signatures for public in publishers):
        signers = ", ".join(keyid for keyid, _ in signatures)
        raise SignatureRefused(
            f"its {FILE} names the key {signers}, and none of the publishers "
            f"{', '.join(map(name_of, publishers))} has signed it; have one of them sign it"
        )
    _compare(json.loads(payload), asdict(expected))


def _opened(envelope: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise ValueError(PAYLOAD_TYPE)
    signatures = [
        (each["keyid"][:64], b64decode(each["sig"], validate=True)) for each in envelope["signatures"]
    ]
    return b64decode(envelope["payload"], validate=True), signatures


def _holds(payload: bytes, signature: tuple[str, bytes], public: bytes) -> bool:
    """Whether this key made this signature; the name that the envelope gives to its key proves nothing."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature[1], pae(PAYLOAD_TYPE, payload))
    except InvalidSignature:
        return False
    return True


def _compare(said: Any, expected: dict[str, str]) -> None:
    if not isinstance(said, dict) or said.keys() != expected.keys():
        raise SignatureRefused(f"its {FILE} does not speak of a version; sign it again")
    for member, want in expected.items():
        if said[member] != want:
            raise SignatureRefused(
                f"its {FILE} is for {member} {said[member]!r}, this is {want!r}; restore the files that were "
                "signed together, or have these signed"
            )


def publishers(path: Path) -> tuple[bytes, ...]:
    """
    Read the public keys of a PEM file, or of every `*.pem` and `*.pub` in a folder, in the order of their names.

    Raises:
        PublishersRefused: there is none, one is no Ed25519 public key, or a file is writable by everyone.
    """
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in (".pem", ".pub"))
    if not files:
        raise PublishersRefused(f"publishers: {path} holds no *.pem and no *.pub; put a public key there")
    return tuple(_public(each) for each in files)


def _public(path: Path) -> bytes:
    try:
        key = load_pem_public_key(read_once(path, at_most=_KEY_BYTES))
    except (FileRefused, ValueError) as error:
        raise PublishersRefused(f"publishers: {path} is not read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise PublishersRefused(
            f"publishers: {path} is no Ed25519 key; make one: python -m models.sign keygen"
        )
    return key.public_bytes_raw()
