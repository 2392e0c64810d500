"""What only somebody outside can know: that the newest records are gone, or that all of them were written anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api import receipts
from api.outside import NOT_ANCHORED, TAMPERED, VERIFIED, exit_code
from db.audit import audit
from db.auditing import Anchor, Cause, Verdict
from db.engine import open_pen, open_reader
from db.ledger import Ledger
from db.notes import COSIGNATURE, Proof, VerifierKey
from db.proofs import Proofs
from db.submissions import Submission
from db.witness import Witness
from tests.backups import Backups
from tests.ledgers import DATABASES, SEAL, fresh, predicted
from tests.tampering import WITNESS

KEPT, KNOWN = 90, 100
NOW_S = 1_795_176_000
OUTSIDE = ("anchor", "witness", "receipt")


@dataclass
class Outside:
    """Everything that somebody else has of one ledger: an anchor, a witness, a receipt in a caller's hand."""

    url: str
    witness: Witness
    held: dict[str, bytes] = field(default_factory=dict)
    seen: int = 0

    def grow(self, count: int) -> None:
        """Append so many records, and let everybody outside see it."""
        notes: list[bytes] = []
        pen = open_pen(self.url)
        try:
            ledger = Ledger(pen, SEAL, anchor=notes.append)
            appended = ledger.append([predicted() for _ in range(count)])
            ledger.note()
            size = appended.receipts[-1].size
            hashes = Proofs(pen).consistency(self.seen, size) if self.seen else []
            line = self.witness.add(Submission(old=self.seen, hashes=tuple(hashes), note=notes[-1]).encode())
            ledger.cosigned(size, line, WITNESS.key(COSIGNATURE))
        finally:
            pen.dispose()
        self.seen = size
        self.held["anchor"] = notes[-1]
        self.held["witness"] = self.witness.seen(SEAL.origin)
        self.held["receipt"] = Proof.parse(receipts.proof(appended.receipts[-1])).checkpoint

    def audit(self, *held: str, pinned: tuple[VerifierKey, ...] = ()) -> Verdict:
        """Audit with some of what is held outside."""
        reader = open_reader(self.url)
        try:
            kept = [Anchor(source=f"the {name}", note=self.held[name]) for name in held]
            return audit(reader, SEAL.signer.key(), kept, witnesses=pinned, mac_key=SEAL.mac_key)
        finally:
            reader.dispose()


@pytest.fixture(params=DATABASES)
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Outside:
    """Make a ledger that is rolled back in a moment."""
    url = fresh(request.param, request, tmp_path)
    witness = Witness(tmp_path / "witness.db", WITNESS, [SEAL.signer.key()], lambda: NOW_S)
    request.addfinalizer(witness.close)
    return Outside(url, witness)


def truncate(outside: Outside, backups: Backups) -> None:
    """Roll back to a state that was good once, with head, notes, tiles and cosignatures (T6)."""
    outside.grow(KEPT)
    backup = backups.take(outside.url)
    outside.grow(KNOWN - KEPT)
    backups.restore(backup, outside.url)


def regrow(outside: Outside, backups: Backups) -> None:
    """Roll back, and let it grow past what was known (T7)."""
    truncate(outside, backups)
    write(outside.url, KNOWN)


def rewrite(outside: Outside, backups: Backups) -> None:
    """Write another history from the beginning, with every key (T9)."""
    empty = backups.take(outside.url)
    outside.grow(KEPT)
    outside.grow(KNOWN - KEPT)
    backups.restore(empty, outside.url)
    write(outside.url, KNOWN + 20)


def write(url: str, count: int) -> None:
    """Append as the owner of all keys, out of everybody's sight."""
    pen = open_pen(url)
    try:
        ledger = Ledger(pen, SEAL)
        ledger.append([predicted() for _ in range(count)])
        ledger.note()
    finally:
        pen.dispose()


Attack = Callable[[Outside, Backups], None]


@pytest.mark.parametrize("attack", [truncate, regrow, rewrite])
@pytest.mark.parametrize("held", OUTSIDE)
def test_whoever_was_shown_more_can_prove_it(
    outside: Outside, backups: Backups, attack: Attack, held: str
) -> None:
    """T6, T7, T9: an anchor, a witness or one receipt is enough, and the finding says which of them it was."""
    attack(outside, backups)
    verdict = outside.audit(held)
    caught = [each for each in verdict.findings if each.cause is Cause.ANCHOR]

    assert exit_code(verdict) == TAMPERED
    assert (
        f"the checkpoint from the {held}" in caught[0].detail
        or f"than the checkpoint from the {held}" in caught[0].detail
    )
    if attack is truncate:
        assert (caught[0].at, f"is of {KNOWN} records, and only {KEPT} are left" in caught[0].detail) == (
            KEPT,
            True,
        )
    else:
        assert f"the first {KNOWN} records have another root" in caught[0].detail


@pytest.mark.parametrize("attack", [truncate, regrow, rewrite])
def test_without_anybody_outside_nothing_is_called_verified(
    outside: Outside, backups: Backups, attack: Attack
) -> None:
    """With nothing from outside the same ledgers are consistent, and exit code 3 says that this is not enough."""
    attack(outside, backups)

    assert exit_code(outside.audit()) == NOT_ANCHORED


def test_what_outside_was_shown_holds_for_an_honest_ledger(outside: Outside) -> None:
    """The same anchors, receipts and cosignatures verify a ledger that nobody touched."""
    outside.grow(KEPT)
    outside.grow(KNOWN - KEPT)
    verdict = outside.audit(*OUTSIDE, pinned=(WITNESS.key(COSIGNATURE),))

    assert (exit_code(verdict), verdict.anchored) == (VERIFIED, KNOWN)
    assert [(each.name, each.count, each.size, each.at_s) for each in verdict.witnesses] == [
        (WITNESS.name, 2, KNOWN, NOW_S)
    ]


def test_cosignatures_do_not_fit_a_history_that_was_rewritten(outside: Outside, backups: Backups) -> None:
    """Whoever keeps the witness's lines under other notes is found without asking the witness."""
    rewrite(outside, backups)
    line = outside.held["witness"].splitlines(keepends=True)[-1]
    pen = open_pen(outside.url)
    Ledger(pen, SEAL).cosigned(KNOWN + 20, line, WITNESS.key(COSIGNATURE))
    pen.dispose()
    verdict = outside.audit(pinned=(WITNESS.key(COSIGNATURE),))

    assert (exit_code(verdict), verdict.findings[0].cause) == (TAMPERED, Cause.WITNESS)


def test_a_witness_does_not_follow_a_rollback(outside: Outside, backups: Backups) -> None:
    """The witness refuses what has grown from the older state, and goes on showing what it had seen."""
    regrow(outside, backups)
    seen = outside.held["witness"]
    with pytest.raises(Exception, match=r"proof|begin|lead"):
        outside.grow(1)

    assert outside.witness.seen(SEAL.origin) == seen
