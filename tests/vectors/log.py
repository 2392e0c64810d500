"""One small log with two witnesses: what it signed, and its proofs."""

from __future__ import annotations

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db.notes import COSIGNATURE, Checkpoint, Proof, Signer, attach, cosign, sign
from db.tree import Frontier, inclusion_proof, leaf_hash

DASH = "—"
NOW_S = 1_800_000_000


def signer_of(name: str, seed: int) -> Signer:
    return Signer(name=name, private=Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


LOG = signer_of("onrecord.example/log", 1)
WITNESSES = [signer_of("witness.example/one", 2), signer_of("witness.example/two", 3)]
WITNESS_KEYS = [witness.key(COSIGNATURE) for witness in WITNESSES]
LEAVES = [b"leaf %d" % number for number in range(20)]
TREE = Frontier().append([leaf_hash(leaf) for leaf in LEAVES])
CHECKPOINT = Checkpoint(origin=LOG.name, size=len(LEAVES), root=TREE.after.root())
SIGNED = sign(CHECKPOINT.text(), LOG)
COSIGNED = attach(SIGNED, [cosign(SIGNED, witness, NOW_S + at) for at, witness in enumerate(WITNESSES)])
TEXT, _, LINE = SIGNED.rpartition(b"\n\n")
TEXT += b"\n"


def proof_of(index: int = 7, checkpoint: bytes = COSIGNED, extra: bytes = b"") -> Proof:
    hashes = inclusion_proof(index, len(LEAVES), TREE.node)
    return Proof(index=index, hashes=tuple(hashes), checkpoint=checkpoint, extra=extra)


def line_of(name: str, blob: bytes) -> bytes:
    return f"{DASH} {name} {b64encode(blob).decode()}\n".encode()
