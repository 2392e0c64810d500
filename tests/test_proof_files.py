"""A proof file proves its leaf to whoever has the log's key, in one spelling, and proves nothing else."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.notes import Checkpoint, NoteRefused, Proof, sign, verify_proof
from db.tree import ProofRefused
from tests.vectors.log import CHECKPOINT, LEAVES, LINE, LOG, NOW_S, WITNESS_KEYS, proof_of, signer_of
from tests.vectors.refusing import refuses
from tests.vectors.spellings import GOOD, REFUSED_PROOFS


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_every_leaf_is_proven_by_its_file_alone(index: int) -> None:
    """With the log's key and the leaf, the file proves the leaf, and no other leaf, under the cosigned checkpoint."""
    data = proof_of(index, extra=b"anything").encode()

    assert verify_proof(data, LEAVES[index], LOG.key(), WITNESS_KEYS).checkpoint == CHECKPOINT
    assert len(verify_proof(data, LEAVES[index], LOG.key(), WITNESS_KEYS).seen_at_s) == 2
    for other in (LEAVES[index - 1], LEAVES[index] + b"\0", b""):
        with pytest.raises(ProofRefused):
            verify_proof(data, other, LOG.key(), WITNESS_KEYS)


def test_a_proof_holds_for_its_own_index_checkpoint_and_log() -> None:
    """R4: another index, another size, another root, another log's checkpoint or key is refused."""
    stranger = signer_of("stranger.example", 8)
    smaller = Checkpoint(origin=LOG.name, size=19, root=CHECKPOINT.root)
    emptier = Checkpoint(origin=LOG.name, size=20, root=bytes(32))
    theirs = Checkpoint(origin=stranger.name, size=20, root=CHECKPOINT.root)

    assert refuses(verify_proof, proof_of(7).encode().replace(b"index 7", b"index 6"), LEAVES[7], LOG.key())
    assert refuses(verify_proof, proof_of(19, sign(smaller.text(), LOG)).encode(), LEAVES[19], LOG.key())
    assert refuses(verify_proof, proof_of(7, sign(emptier.text(), LOG)).encode(), LEAVES[7], LOG.key())
    assert refuses(verify_proof, proof_of(7, sign(theirs.text(), stranger)).encode(), LEAVES[7], LOG.key())
    assert refuses(verify_proof, proof_of(7).encode(), LEAVES[7], stranger.key())


def test_extra_data_is_carried_and_not_believed() -> None:
    """tlog-proof: what stands under extra is whatever anyone put there; the proof holds all the same."""
    data = proof_of(3, extra=b"true").encode().replace(b64encode(b"true"), b64encode(b"fals"))

    assert Proof.parse(data).extra == b"fals"
    assert verify_proof(data, LEAVES[3], LOG.key()).checkpoint == CHECKPOINT


@pytest.mark.parametrize("data", REFUSED_PROOFS.values(), ids=REFUSED_PROOFS.keys())
def test_a_proof_has_one_spelling(data: bytes) -> None:
    """R5: every departure from tlog-proof v1 is refused as a note, before a hash is compared."""
    with pytest.raises(NoteRefused):
        verify_proof(data, LEAVES[7], LOG.key())


@settings(max_examples=500)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.binary(max_size=12) | st.sampled_from([b"\n", b"\n\n", LINE]),
)
def test_a_file_that_was_tampered_with_proves_the_same_or_nothing(at: int, cut: int, put: bytes) -> None:
    """R9: whatever is cut out of a proof and put in instead, it is refused or still proves the very same checkpoint."""
    changed = GOOD[:at] + put + GOOD[at + cut :]
    try:
        opened = verify_proof(changed, LEAVES[7], LOG.key(), WITNESS_KEYS)
    except (NoteRefused, ProofRefused):
        return

    assert opened.checkpoint == CHECKPOINT
    assert set(opened.seen_at_s) <= {(WITNESS_KEYS[0], NOW_S), (WITNESS_KEYS[1], NOW_S + 1)}
