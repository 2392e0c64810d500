"""The seal on the head of the ledger: what authenticates the row between two appends, and signs it for the world."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from functools import cached_property

from db import epochs
from db.notes import Checkpoint, Signer, VerifierKey, sign
from db.tree import Frontier, FrontierRefused


class LedgerForked(Exception):
    """The stored head is not one this ledger wrote, or older than one this process has seen. Do not serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The row of `head` as it is stored."""

    size: int
    latest_us: int
    lag_us: int
    root: bytes
    frontier: bytes
    mac: bytes
    origin: str
    epoch: int


@dataclass(frozen=True, kw_only=True)  # no slots: it keeps the name of its key, which every receipt says
class Seal:
    """The keys of one ledger, in one epoch of it; they are never in its database. `signer` has the name `origin`."""

    origin: str
    mac_key: bytes
    signer: Signer
    epoch: int = 0

    def begun(self, epoch: int) -> Seal:
        """Return what seals and signs in another epoch."""
        return replace(self, epoch=epoch)

    @property
    def name(self) -> str:
        """Name what is signed in this epoch."""
        return epochs.name_of(self.origin, self.epoch)

    @property
    def key(self) -> VerifierKey:
        """Give away what verifies the checkpoints that are signed in this epoch."""
        return epochs.key_of(self.signer.key(), self.epoch)

    def mac(self, frontier: Frontier, epoch: int) -> bytes:
        """Authenticate a head inside its transaction; unlike a signature it says nothing to anybody else."""
        numbers = epoch.to_bytes(4) + frontier.size.to_bytes(8)
        message = b"head/v1" + self.origin.encode() + b"\0" + numbers + frontier.root() + frontier.to_bytes()
        return hmac.digest(self.mac_key, message, "sha256")

    def open(self, head: Head, seen: Frontier | None = None) -> Frontier:
        """Return the frontier of a head that was sealed with these keys and is no older than what was `seen`.

        A head that went back and grew again past `seen` passes: only a proof of consistency tells (db/ledger.py).

        Raises:
            LedgerForked: it is anything else.
        """
        if head.origin != self.origin:
            raise LedgerForked(
                "the head belongs to another ledger, or is not sealed: run python -m api setup"
            )
        if head.epoch != self.epoch:
            raise LedgerForked(
                f"the head is of epoch {head.epoch}, and this process knows {self.epoch}: start it again"
            )
        try:
            frontier = Frontier.from_bytes(head.frontier)
        except FrontierRefused as refused:
            raise LedgerForked(f"the head cannot be read: {refused}") from refused
        if not hmac.compare_digest(head.mac, self.mac(frontier, head.epoch)):
            raise LedgerForked("the head was not written with the key of this ledger")
        if (frontier.size, frontier.root()) != (head.size, head.root):
            raise LedgerForked("the head contradicts itself: its size or root is not that of its frontier")
        if seen is not None and frontier.size < seen.size:
            raise LedgerForked(f"the ledger went backwards: {seen.size} records were durable")
        if seen is not None and frontier.size == seen.size and frontier != seen:
            raise LedgerForked(f"the ledger has another history of the same {seen.size} records")
        return frontier

    def signature(self, size: int, root: bytes) -> bytes:
        """Sign a head that is durable already: 64 bytes over the checkpoint's text."""
        return self.signer.private.sign(Checkpoint(origin=self.name, size=size, root=root).text())

    def note(self, size: int, root: bytes) -> bytes:
        """Write a head that is durable already as a signed checkpoint."""
        signer = replace(self.signer, name=self.name)
        return sign(Checkpoint(origin=signer.name, size=size, root=root).text(), signer)

    @cached_property
    def key_id(self) -> str:
        """Name the key that signs, as receipts do."""
        return f"{self.name}+{self.key.id.hex()}"  # the Base64 behind it may have a plus
