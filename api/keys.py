"""The service's own keys, one file each under var/keys, readable by nobody but the service's user.

Created once by `python -m api setup`, never by a running service: a door that made itself a key would void
every token of the other doors. Reading refuses a key that others could have read.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from api.jwks import new_pem

CURSOR_KEY_BYTES = 32
MAC_KEY_BYTES = 32
CURE_LEDGER = "copy it from the host that ran setup first, or restore the backup"


class KeyRefused(Exception):
    """A key file is missing, readable by others, or not what it should be; `cure` says what to type."""

    def __init__(self, path: Path, reason: str, cure: str) -> None:
        super().__init__(f"{path} {reason}; {cure}")
        self.path, self.reason, self.cure = path, reason, cure


def folder(var: Path) -> Path:
    """Name the folder of keys inside the var folder."""
    return var / "keys"


def token_key_path(var: Path) -> Path:
    """Name the file of the private key that signs access tokens (PKCS 8, PEM); its neighbours: api/keyring.py."""
    return folder(var) / "tokens" / "active.pem"


def cursor_key_path(var: Path) -> Path:
    """Name the file of the 32 bytes that authenticate search cursors."""
    return folder(var) / "cursor.key"


def mac_key_path(var: Path) -> Path:
    """Name the file of the 32 bytes that authenticate the head of the ledger between two appends."""
    return folder(var) / "ledger" / "mac.key"


def create(var: Path, algorithm: str) -> list[Path]:
    """Create the keys that are missing, durably, and name them; keys that exist are left alone.

    `algorithm` is what a new token key signs with.
    """
    for private in (folder(var), token_key_path(var).parent):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.chmod(0o700)
    makers = {token_key_path(var): lambda: new_pem(algorithm), cursor_key_path(var): _new_cursor_key}
    missing = [path for path in makers if not path.exists()]
    for path in missing:
        write_private(path, makers[path]())
    return missing


def read_cursor_key(var: Path) -> bytes:
    """Read the key of search cursors.

    Raises:
        KeyRefused: missing, readable by others, or not 32 bytes long.
    """
    path = cursor_key_path(var)
    key = read_private(path)
    if len(key) != CURSOR_KEY_BYTES:
        raise KeyRefused(path, f"is not {CURSOR_KEY_BYTES} bytes long", _CURE_WRONG)
    return key


def read_mac_key(var: Path) -> bytes:
    """Read the key of the ledger's head; raises KeyRefused as `read_cursor_key` does."""
    path = mac_key_path(var)
    key = read_private(path, CURE_LEDGER)
    if len(key) != MAC_KEY_BYTES:
        raise KeyRefused(path, f"is not {MAC_KEY_BYTES} bytes long", CURE_LEDGER)
    return key


def write_private(path: Path, content: bytes) -> None:
    """Create a file of mode 0600 that is either absent or whole, also after a crash.

    Raises:
        FileExistsError: the file is there already; it is not touched.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: rename would silently replace a key that another process made meanwhile.
        os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


_CURE_WRONG = "restore the backup, or move it away and run: python -m api setup (voids what it signed)"


def read_private(path: Path, cure: str = "run: python -m api setup") -> bytes:
    """Read a file that only this user can read; `cure` is what helps where it is missing.

    Raises:
        KeyRefused: it is missing, no file, or open to others.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as missing:
        raise KeyRefused(path, "is missing", cure) from missing
    except OSError as refused:
        raise KeyRefused(path, f"cannot be read ({refused.strerror})", "check owner and mode") from refused
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyRefused(path, "is not a regular file", _CURE_WRONG)
        if mode := stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyRefused(path, f"is open to others (mode …{mode:02o})", f"run: chmod 600 {path}")
        return file.read()


def _new_cursor_key() -> bytes:
    return secrets.token_bytes(CURSOR_KEY_BYTES)


def sync_folder(path: Path) -> None:
    """Make durable that files in this folder came or went."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
