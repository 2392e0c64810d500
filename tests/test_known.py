"""What others computed, signed and wrote comes out of our tree and notes to the byte, and goes in."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db.notes import Proof, Signer, VerifierKey, attach, open_checkpoint, open_note, sign
from db.tree import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.vectors.refusing import refuses
from tests.vectors.slow import Slow

HERE = Path(__file__).parent / "vectors"
TREES: dict[str, Any] = json.loads((HERE / "tree.json").read_text())
NOTES: dict[str, Any] = json.loads((HERE / "notes.json").read_text())
GO, C2SP, ARCHE, PROOFS = (NOTES[name] for name in ("go", "c2sp", "arche", "proofs"))


def unhex(hashes: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(hashed) for hashed in hashes]


def test_the_slow_tree_of_these_tests_gives_the_known_roots_and_proofs() -> None:
    """What ours is compared with is right: it reproduces the vectors that all implementations share."""
    known = TREES["reference"]
    slow = Slow(unhex(known["leaves"]))

    assert known["empty_root"] == slow.mth(0, 0).hex()
    assert known["roots"] == [slow.mth(0, n).hex() for n in range(1, 9)]
    assert [v["proof"] for v in known["inclusion"]] == [
        [hashed.hex() for hashed in slow.path(v["index"], 0, v["size"])] for v in known["inclusion"]
    ]
    assert [v["proof"] for v in known["consistency"]] == [
        [hashed.hex() for hashed in slow.proof(v["m"], 0, v["n"])] for v in known["consistency"]
    ]


def test_the_known_leaves_have_the_known_roots() -> None:
    """The eight leaves of Certificate Transparency grow into the eight published roots, from the empty one on."""
    hashes = [leaf_hash(leaf) for leaf in unhex(TREES["reference"]["leaves"])]
    roots = [Frontier().append(hashes[:size]).after.root().hex() for size in range(9)]

    assert [TREES["reference"]["empty_root"], *TREES["reference"]["roots"]] == roots


@pytest.mark.parametrize("vector", TREES["reference"]["inclusion"], ids=str)
def test_the_known_inclusion_proofs_are_built_and_verified(vector: dict[str, Any]) -> None:
    """The published inclusion proofs come out of our builder and are accepted by our verifier."""
    leaves, roots = (unhex(TREES["reference"][name]) for name in ("leaves", "roots"))
    index, size, proof = vector["index"], vector["size"], unhex(vector["proof"])
    growth = Frontier().append([leaf_hash(leaf) for leaf in leaves[:size]])

    assert proof == inclusion_proof(index, size, growth.node)
    verify_inclusion(leaf_hash(leaves[index]), index, size, proof, roots[size - 1])


@pytest.mark.parametrize("vector", TREES["reference"]["consistency"], ids=str)
def test_the_known_consistency_proofs_are_built_and_verified(vector: dict[str, Any]) -> None:
    """The published consistency proofs come out of our builder and are accepted by our verifier."""
    leaves, roots = (unhex(TREES["reference"][name]) for name in ("leaves", "roots"))
    m, n, proof = vector["m"], vector["n"], unhex(vector["proof"])
    growth = Frontier().append([leaf_hash(leaf) for leaf in leaves[:n]])

    assert proof == consistency_proof(m, n, growth.node)
    verify_consistency(m, n, proof, roots[m - 1], roots[n - 1])


def test_a_proof_out_of_a_log_kept_by_others_is_accepted() -> None:
    """An inclusion proof that Tessera made, for the last of 76,959 leaves, is accepted here."""
    known = TREES["tessera"]
    hashed, root = leaf_hash(bytes.fromhex(known["leaf"])), bytes.fromhex(known["root"])

    verify_inclusion(hashed, known["index"], known["size"], unhex(known["proof"]), root)


def test_roots_of_large_trees_are_those_written_down_once() -> None:
    """Trees of up to 65,536 leaves have the roots that were computed without any code of this repository."""
    hashes = [leaf_hash(str(number).encode()) for number in range(65_536)]
    roots = {
        size: Frontier().append(hashes[: int(size)]).after.root().hex() for size in TREES["decimal"]["roots"]
    }

    assert TREES["decimal"]["roots"] == roots


def test_the_example_of_go_is_opened_and_signed_to_the_byte() -> None:
    """Go's key opens Go's note, and from its seed ours comes out the same: Ed25519 is deterministic."""
    key = VerifierKey.parse(GO["key"])
    signer = Signer(name=key.name, private=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GO["seed"])))

    assert open_note(GO["note"].encode(), [key])[0] == GO["text"].encode()
    assert sign(GO["text"].encode(), signer) == GO["note"].encode()
    assert str(signer.key()) == GO["key"]


def test_a_note_may_be_signed_by_several() -> None:
    """Of two signatures each is verified by whoever knows its key, and the other is passed over."""
    peter, enoch = VerifierKey.parse(GO["key"]), VerifierKey.parse(GO["second_key"])
    note = attach(GO["note"].encode(), [GO["second_line"].encode()])

    assert [[peter], [enoch], [peter, enoch]] == [
        list(open_note(note, keys)[1]) for keys in ([peter], [enoch], [enoch, peter])
    ]


def test_the_example_of_the_specification_is_opened() -> None:
    """The verifier key and note printed in c2sp.org/signed-note go together."""
    assert open_note(C2SP["note"].encode(), [VerifierKey.parse(C2SP["key"])])[0] == C2SP["text"].encode()


def test_a_checkpoint_of_the_real_world_is_opened_with_its_witnesses() -> None:
    """A public log's checkpoint, two log signatures (one unknown here) and four cosignatures, is verified whole."""
    log, witnesses = VerifierKey.parse(ARCHE["log"]), [VerifierKey.parse(text) for text in ARCHE["witnesses"]]
    opened = open_checkpoint(ARCHE["note"].encode(), log, witnesses)

    assert (opened.checkpoint.size, opened.checkpoint.root.hex()) == (ARCHE["size"], ARCHE["root"])
    assert opened.seen_at_s == tuple((key, ARCHE["seen_at_s"]) for key in witnesses)
    for change in ((b"1432088532", b"1432088533"), (b"U7WM", b"V7WM"), (b"qEiEg", b"qEiEh")):
        assert refuses(open_checkpoint, ARCHE["note"].encode().replace(*change), log, witnesses)


@pytest.mark.parametrize(
    "text", [GO["key"], GO["second_key"], C2SP["key"], ARCHE["log"], *ARCHE["witnesses"]]
)
def test_verifier_keys_survive_being_read_and_written(text: str) -> None:
    """What others wrote is written back the same, and the id is SHA-256 over name, newline, type and key."""
    key = VerifierKey.parse(text)
    name, key_id, material = text.split("+", 2)

    assert str(key) == text
    assert key_id == key.id.hex() == sha256(name.encode() + b"\n" + b64decode(material)).hexdigest()[:8]


def test_no_part_of_a_verifier_key_is_one_and_no_changed_character_goes_unseen() -> None:
    """The id covers every character, so that a key with a slip of the pen is refused instead of trusting nobody."""
    text = GO["key"]
    parts = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1) if j - i < len(text)]
    slips = [text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :] for at in range(len(text))]

    assert all(refuses(VerifierKey.parse, wrong) for wrong in [*parts, *slips, *GO["bad_keys"], "", "++"])


@pytest.mark.parametrize("vector", PROOFS["written"], ids=["plain", "extra", "no hashes"])
def test_proofs_are_written_as_others_write_them(vector: dict[str, Any]) -> None:
    """The three files that the reference library writes in its tests are ours to the byte."""
    hashes = tuple(bytes.fromhex(hashed) for hashed in vector["hashes"])
    proof = Proof(index=vector["index"], hashes=hashes, checkpoint=vector["checkpoint"].encode(),
                  extra=bytes.fromhex(vector["extra"]))  # fmt: skip

    assert proof.encode() == vector["text"].encode()


def test_a_proof_that_others_wrote_is_read_and_written_back() -> None:
    """Another implementation's receipt goes through ours unchanged."""
    text = PROOFS["read"].encode()
    proof = Proof.parse(text)

    assert (proof.index, len(proof.hashes), proof.extra) == (0, 1, b"")
    assert proof.encode() == text
