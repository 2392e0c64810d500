"""The keys that sign access tokens, each in the state its file's name says: next, active or passive.

    next-<second>.pem      published since then; signs nothing yet, so that every verifier has seen it when it does
    active.pem             signs
    passive-<second>.pem   signs nothing since then; verifies until the last token it signed has expired

A key whose file is removed is gone: its tokens are refused as soon as the doors look again (api/callers.py says when).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from api import keys
from api.jwks import NoKey, SigningKey, VerifyingKey, new_pem
from api.keys import KeyRefused

# A verifier may hold the published set for five minutes (its Cache-Control), and needs some to fetch it.
PUBLISHED_S = 600
LEEWAY_S = 30
MAX_LIFETIME_S = 3600
OUTLIVES_S = MAX_LIFETIME_S + LEEWAY_S
_NAME = re.compile(r"active\.pem|(next|passive)-([0-9]{1,12})\.pem")
CURE = "restore the backup, or move it away and run: python -m api setup (voids what it signed)"


class KeyChangeRefused(Exception):
    """The keys cannot be changed so; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptKey:
    """One key with its state; `since_s` is when it was published (next) or replaced (passive), 0 for the active one."""

    path: Path
    state: str
    since_s: int
    key: SigningKey

    def is_gone(self, now_s: int) -> bool:
        """Say whether no token that it signed can be alive."""
        return self.state == "passive" and now_s >= self.since_s + OUTLIVES_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """All keys of the folder, the active one first."""

    kept: tuple[KeptKey, ...]

    @property
    def active(self) -> SigningKey:
        """Return the key that signs."""
        return self.kept[0].key

    def verifying(self, now_s: int) -> list[VerifyingKey]:
        """List the keys that the world may verify with."""
        return [each.key.verifying for each in self.kept if not each.is_gone(now_s)]

    def find(self, kid: str) -> KeptKey | None:
        """Find a key by the id that tokens name it by."""
        return next((each for each in self.kept if each.key.verifying.kid == kid), None)


def folder(var: Path) -> Path:
    """Name the folder of these keys."""
    return keys.folder(var) / "tokens"


def read(var: Path) -> Keyring:
    """Read every key.

    Raises:
        KeyRefused: one is missing, open to others, or none that may sign tokens.
    """
    path = folder(var) / "active.pem"
    found = [KeptKey(path=path, state="active", since_s=0, key=_read(path))]
    for path in sorted(folder(var).glob("*-*.pem")):
        if match := _NAME.fullmatch(path.name):
            found.append(KeptKey(path=path, state=match[1], since_s=int(match[2]), key=_read(path)))
    return Keyring(kept=tuple(found))


def stamp(var: Path) -> frozenset[tuple[str, int, int]]:
    """Tell apart two states of the folder without reading a key."""
    try:
        found = [(path.name, path.stat()) for path in folder(var).glob("*.pem")]
    except OSError:  # a file went away while it was looked at: look again next time
        return frozenset()
    return frozenset((name, status.st_ino, status.st_mtime_ns) for name, status in found)


def prepare(var: Path, pem: bytes, now_s: int) -> None:
    """Publish a key that will sign later."""
    keys.write_private(folder(var) / f"next-{now_s}.pem", pem)


def promised(ring: Keyring, now_s: int, *, at_once: bool) -> KeptKey:
    """Return the next key, once every verifier can know it.

    Raises:
        KeyChangeRefused: there is none, or it was published too recently.
    """
    waiting = [each for each in ring.kept if each.state == "next"]
    if not waiting:
        raise KeyChangeRefused("there is no next key; publish one first: python -m api key prepare")
    chosen = min(waiting, key=lambda each: each.since_s)
    if not at_once and (wait_s := chosen.since_s + PUBLISHED_S - now_s) > 0:
        raise KeyChangeRefused(
            f"the next key was published {now_s - chosen.since_s} seconds ago, and verifiers may not know it yet;"
            f" wait {wait_s} seconds, or say --now"
        )
    return chosen


def rotate(ring: Keyring, chosen: KeptKey, now_s: int) -> None:
    """Let another key sign; the one so far verifies on. A crash in between leaves an active key in its place."""
    active = ring.kept[0].path
    passive = active.with_name(f"passive-{now_s}.pem")
    keys.write_private(passive, active.read_bytes())
    chosen.path.replace(active)
    keys.sync_folder(active.parent)


def forget(ring: Keyring, now_s: int) -> list[KeptKey]:
    """Remove the keys of which no token can be alive, and name them."""
    gone = [each for each in ring.kept if each.is_gone(now_s)]
    for each in gone:
        remove(each)
    return gone


def remove(kept: KeptKey) -> None:
    """Remove one key for good."""
    kept.path.unlink(missing_ok=True)
    keys.sync_folder(kept.path.parent)


def new_key(algorithm: str) -> tuple[bytes, SigningKey]:
    """Make a key and read it once, so that its id is known before it is written."""
    pem = new_pem(algorithm)
    return pem, SigningKey.of_pem(pem)


def _read(path: Path) -> SigningKey:
    try:
        return SigningKey.of_pem(keys.read_private(path))
    except NoKey as refused:
        raise KeyRefused(path, str(refused), CURE) from refused
