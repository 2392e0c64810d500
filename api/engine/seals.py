"""The ledger's own keys: made with the ledger, read by whoever holds the pen, never by a door.

var/keys/ledger/sign.pem  Ed25519, PKCS 8: signs checkpoints and receipts
var/keys/ledger/mac.key   32 bytes: authenticate the head between two appends
var/ledger.pub            the verifier key, for everyone: what people pin
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from api import keys, signing
from api.keys import CURE_LEDGER, KeyRefused
from db.notes import NoteRefused, Signer, VerifierKey
from db.sealing import Seal


def sign_key_path(var: Path) -> Path:
    """Name the file of the Ed25519 private key."""
    return keys.folder(var) / "ledger" / "sign.pem"


def public_path(var: Path) -> Path:
    """Name the file with the verifier key, one line."""
    return var / "ledger.pub"


def create(var: Path) -> list[Path]:
    """Create the keys that are missing, durably, and name them; only for a ledger that is not sealed yet."""
    folder = sign_key_path(var).parent
    for private in (keys.folder(var), folder):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.chmod(0o700)
    makers: dict[Path, Callable[[], bytes]] = {
        sign_key_path(var): signing.new,
        keys.mac_key_path(var): lambda: secrets.token_bytes(keys.MAC_KEY_BYTES),
    }
    missing = [path for path in makers if not path.exists()]
    for path in missing:
        keys.write_private(path, makers[path]())
    return missing


def new_origin() -> str:
    """Name a ledger that begins; two that begin under one name could be taken for one that forked."""
    return f"onrecord.local/{secrets.token_hex(4)}"


def read(var: Path) -> Seal:
    """Read the keys of the ledger whose public key is in ledger.pub.

    Raises:
        KeyRefused: one is missing, readable by others, not what it should be, or the two do not belong together.
    """
    path = public_path(var)
    try:
        public = VerifierKey.parse(path.read_text().strip())
    except FileNotFoundError as missing:
        raise KeyRefused(path, "is missing", "run: python -m api setup") from missing
    except (NoteRefused, ValueError) as refused:
        raise KeyRefused(path, "is not a verifier key", CURE_LEDGER) from refused
    seal = of(var, public.name)
    if seal.signer.key() != public:
        raise KeyRefused(path, f"is not the public key of {sign_key_path(var)}", CURE_LEDGER)
    return seal


def of(var: Path, origin: str) -> Seal:
    """Read the private keys for a ledger of this origin; raises KeyRefused as `read` does."""
    signer = Signer(name=origin, private=signing.read(sign_key_path(var), CURE_LEDGER))
    return Seal(origin=origin, mac_key=keys.read_mac_key(var), signer=signer)


def publish(var: Path, seal: Seal) -> Path:
    """Write the verifier key where everyone can read it, whole or not at all, replacing an older one."""
    path = public_path(var)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{seal.signer.key()}\n")
        file.flush()
        os.fchmod(file.fileno(), 0o644)  # whatever the umask says: it is public
        os.fsync(file.fileno())
    draft.replace(path)
    keys.sync_folder(path.parent)
    return path
