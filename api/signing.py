"""Ed25519 private keys as files: what signs for a ledger, and what signs for a witness."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import keys
from api.keys import KeyRefused


def new() -> bytes:
    """Make a private key, PKCS 8 in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read(path: Path, cure: str) -> Ed25519PrivateKey:
    """Read a private key; raises KeyRefused where it is missing, readable by others, or another kind of key."""
    try:
        private = serialization.load_pem_private_key(keys.read_private(path, cure), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as refused:
        raise KeyRefused(path, "is not a private key in PEM", cure) from refused
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyRefused(path, "is not an Ed25519 key", cure)
    return private
