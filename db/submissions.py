"""What a log sends to a witness: the size the witness knows, the proof from there, and the new signed checkpoint.

Pure. Except for its first line it is spelled like a tlog-proof, so one parser decides for both what has one spelling.

Source: C2SP tlog-witness, "add-checkpoint".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from db.notes import (
    MAX_BYTES,
    MAX_PROOF,
    Checkpoint,
    NoteRefused,
    Proof,
    VerifierKey,
    attach,
    open_note,
)

MAX_SUBMISSION = 2 * MAX_BYTES + 48 * (MAX_PROOF + 1)  # text, signatures, and a line for each hash
_OLD, _AS_PROOF = b"old ", b"c2sp.org/tlog-proof@v1\nindex "


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Asks for a cosignature under `note`, which has grown from the first `old` records; nothing of it is believed."""

    old: int
    hashes: tuple[bytes, ...]
    note: bytes

    @classmethod
    def parse(cls, data: bytes) -> Submission:
        """Read what `encode` wrote; raises NoteRefused on any other spelling."""
        if not data.startswith(_OLD):
            raise NoteRefused("a submission begins with the word old and a size")
        parsed = Proof.parse(_AS_PROOF + data.removeprefix(_OLD))
        return cls(old=parsed.index, hashes=parsed.hashes, note=parsed.checkpoint)

    def encode(self) -> bytes:
        """Write the body of the request."""
        as_proof = Proof(index=self.old, hashes=self.hashes, checkpoint=self.note).encode()
        return _OLD + as_proof.removeprefix(_AS_PROOF)


def stated(note: bytes) -> Checkpoint:
    """Read what a note says of a log before anybody has looked who signed it: it decides which key to try."""
    return Checkpoint.parse(note.rpartition(b"\n\n")[0] + b"\n")


def alone(note: bytes, keys: Iterable[VerifierKey]) -> bytes:
    """Return the note with the signatures of these keys only; NoteRefused where there is none, or a false one."""
    text, signed = open_note(note, keys)
    return attach(text + b"\n", [key.line(signature) for key, signature in signed.items()])
