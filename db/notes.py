"""Signed notes: checkpoints of the tree, witnesses' cosignatures, and the proofs that callers keep as receipts.

Standard library and `cryptography` only. Nothing here knows the time, a file, or whom to trust. What two readers
understand differently proves nothing, so everything has one spelling, and the rest raises NoteRefused.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature and tlog-proof, each v1; RFC 8032 (Ed25519).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from db.tree import HASH_BYTES, MAX_SIZE, leaf_hash, verify_inclusion

ED25519, COSIGNATURE = 1, 4  # what a key signs, as it goes into its id: signed-note, "Signature types"
MAX_SIGNATURES = 16  # signed-note: verifiers accept at least as many, and should set a limit
MAX_BYTES = 2**17  # of a text, and of its signatures: 16 post-quantum ones of nearly 5 kB fit in
MAX_PROOF = 63  # hashes: no tree is higher
_ID_BYTES, _TIME_BYTES, _KEY_BYTES = 4, 8, 32
_DASH, _HEADER = "\N{EM DASH} ", "c2sp.org/tlog-proof@v1"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_LINE = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")
_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_KEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+(.+)")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteRefused(Exception):
    """A note, key or proof is not what its format wants, or nobody trusted has signed it; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key and the name it signs as; with another name or algorithm the same bytes are another key."""

    name: str
    public: bytes
    algorithm: int = ED25519

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise NoteRefused("a key's name is not empty and has neither spaces nor a plus")
        if self.algorithm not in (ED25519, COSIGNATURE) or len(self.public) != _KEY_BYTES:
            raise NoteRefused("a key is of type 1 (Ed25519) or 4 (its cosignatures) and has 32 bytes")

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read `<name>+<id>+<base64>`, refusing an id that is not the key's. Source: signed-note, "Verifier keys"."""
        if not (match := _KEY.fullmatch(text)):
            raise NoteRefused("a verifier key reads <name>+<eight lower-case hex digits>+<base64>")
        material = _decode(match[3])
        key = cls(name=match[1], public=material[1:], algorithm=material[0])
        if key.id.hex() != match[2]:
            raise NoteRefused(f"the id of this key is {key.id.hex()}, not {match[2]}")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(bytes([self.algorithm]) + self.public)}"

    @property
    def id(self) -> bytes:
        """Compute the four bytes that tell keys of one name apart; a hint, never a proof. Source: signed-note."""
        return sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[:_ID_BYTES]

    def verify(self, text: bytes, signature: bytes) -> None:
        """Return only when this key signed the text, a witness's key together with the time that is stated."""
        message = text
        if self.algorithm == COSIGNATURE:
            message, signature = _cosigned(text, _stated_at_s(signature)), signature[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            raise NoteRefused(f"the signature of {self.name} is false") from None

    def line(self, signature: bytes) -> bytes:
        """Write a signature the way notes carry it. Source: signed-note, "Signatures"."""
        return f"{_DASH}{self.name} {_encode(self.id + signature)}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key and the name it signs as: a log's is the origin of its checkpoints."""

    name: str
    private: Ed25519PrivateKey

    def key(self, algorithm: int = ED25519) -> VerifierKey:
        """Give away what verifies its signatures; with COSIGNATURE, those it makes as a witness."""
        public = self.private.public_key().public_bytes_raw()
        return VerifierKey(name=self.name, public=public, algorithm=algorithm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log says of itself; extension lines are kept and mean nothing. Source: tlog-checkpoint, "Note text"."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(map(_LINE.fullmatch, (self.origin, *self.extensions))):
            raise NoteRefused("origin and extensions are lines, not empty and without control characters")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise NoteRefused("a checkpoint has a size from 0 to 2**63 - 1 and a root of 32 bytes")

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """Read the text of a note; whether to believe it is for `open_checkpoint` to say."""
        origin, size, root, *extensions = _lines(text, 3)
        return cls(origin=origin, size=_number(size), root=_decode(root), extensions=tuple(extensions))

    def text(self) -> bytes:
        """Write the lines that are signed, their last newline included."""
        return _unlines([self.origin, str(self.size), _encode(self.root), *self.extensions])


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint its log signed, and when which trusted witnesses stated that the log had only grown to there."""

    checkpoint: Checkpoint
    seen_at_s: tuple[tuple[VerifierKey, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An inclusion proof with the signed checkpoint it leads to; nothing proves `extra`. Source: tlog-proof."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Read what `encode` wrote, without believing it: that is `verify_proof`."""
        head, _, checkpoint = data.partition(b"\n\n")
        header, *lines = _lines(head + b"\n", 2)
        extra = _decode(lines.pop(0)[6:]) if lines[0].startswith("extra ") else b""
        if header != _HEADER or not lines or not lines[0].startswith("index "):
            raise NoteRefused(f"a proof begins with {_HEADER}, perhaps a line of extra, and its index")
        hashes = tuple(map(_decode, lines[1:]))
        if len(hashes) > MAX_PROOF or any(len(hashed) != HASH_BYTES for hashed in hashes):
            raise NoteRefused(f"a proof has at most {MAX_PROOF} hashes, of 32 bytes each")
        _split(checkpoint)
        return cls(index=_number(lines[0][6:]), hashes=hashes, checkpoint=checkpoint, extra=extra)

    def encode(self) -> bytes:
        """Write what a `.tlog-proof` file holds, the checkpoint as its log issued it."""
        extra = [f"extra {_encode(self.extra)}"] if self.extra else []
        lines = [_HEADER, *extra, f"index {self.index}", *map(_encode, self.hashes), ""]
        return _unlines(lines) + self.checkpoint


def sign(text: bytes, signer: Signer) -> bytes:
    """Make a note of `Checkpoint.text()` or any lines; the same text gets the same bytes. Source: signed-note."""
    return attach(text + b"\n", [signer.key().line(signer.private.sign(text))])


def cosign(note: bytes, signer: Signer, at_s: int) -> bytes:
    """Make a witness's line for a note it has opened and found consistent with the last. Source: tlog-cosignature."""
    if not 0 <= at_s <= MAX_SIZE:
        raise NoteRefused(f"a cosignature's time is from 0 to 2**63 - 1 seconds, not {at_s}")
    text, _ = _split(note)
    Checkpoint.parse(text)  # a witness states something of checkpoints only
    signature = at_s.to_bytes(_TIME_BYTES) + signer.private.sign(_cosigned(text, at_s))
    return signer.key(COSIGNATURE).line(signature)


def attach(note: bytes, lines: Iterable[bytes]) -> bytes:
    """Put signature lines under a note; they are read, not verified, and cannot change what was signed."""
    grown = note + b"".join(lines)
    if not note.startswith(_split(grown)[0] + b"\n"):
        raise NoteRefused("among signature lines there is no empty one")
    return grown


def open_note(note: bytes, keys: Iterable[VerifierKey]) -> tuple[bytes, dict[VerifierKey, bytes]]:
    """Return the text and which of `keys` signed it: one at least, and none falsely or twice. Source: signed-note."""
    text, signatures = _split(note)
    known = {(key.name, key.id): key for key in keys}
    signed: dict[VerifierKey, bytes] = {}
    for name, key_id, signature in signatures:
        if key := known.get((name, key_id)):  # signatures of strangers are passed over, however wrong
            key.verify(text, signature)
            if key in signed:  # signed-note leaves open which of two would count
                raise NoteRefused(f"{name} signs twice")
            signed[key] = signature
    if not signed:
        raise NoteRefused("no trusted key has signed this")
    return text, signed


def open_checkpoint(note: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> SignedCheckpoint:
    """Return the checkpoint only when the log signed it in its own name; the caller says how many witnesses do."""
    keys = {key.public: key.algorithm for key in witnesses if key.public != log.public}
    if log.algorithm != ED25519 or list(keys.values()) != [COSIGNATURE] * len(witnesses):
        # What is cosigned does not name the cosigner: one key under two names would count for two.
        raise NoteRefused("the log needs a key of type 1, every witness one of its own of type 4")
    text, signed = open_note(note, [*witnesses, log])
    if signed.pop(log, None) is None:
        raise NoteRefused(f"{log.name} has not signed this checkpoint")
    checkpoint = Checkpoint.parse(text)
    if checkpoint.origin != log.name:
        raise NoteRefused(f"{log.name} has signed a checkpoint of another origin")
    seen = tuple((key, _stated_at_s(signature)) for key, signature in signed.items())
    return SignedCheckpoint(checkpoint=checkpoint, seen_at_s=seen)


def verify_proof(
    proof: bytes, leaf: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey] = ()
) -> SignedCheckpoint:
    """Return the checkpoint whose tree has the leaf; NoteRefused if nobody signed it, ProofRefused if it has it not."""
    parsed = Proof.parse(proof)
    signed = open_checkpoint(parsed.checkpoint, log, witnesses)
    size, root = signed.checkpoint.size, signed.checkpoint.root
    verify_inclusion(leaf_hash(leaf), parsed.index, size, parsed.hashes, root)
    return signed


def _stated_at_s(signature: bytes) -> int:
    at_s = int.from_bytes(signature[:_TIME_BYTES])
    if at_s > MAX_SIZE:  # the length is not looked at here: what is left has to be an Ed25519 signature
        raise NoteRefused("a cosignature begins with a time below 2**63, in 8 bytes")
    return at_s


def _cosigned(text: bytes, at_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % at_s + text


def _split(note: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    # The text with its last newline, and of every signature name, key id and value: read, not verified.
    text, blank, lines = note.rpartition(b"\n\n")
    _decoded(text)
    signatures = _lines(lines, 1)
    if not blank or len(signatures) > MAX_SIGNATURES:
        raise NoteRefused(f"a note is a text, an empty line and at most {MAX_SIGNATURES} signatures")
    return text + b"\n", list(map(_signature, signatures))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.fullmatch(name):
        raise NoteRefused("a signature line is an em dash, a name and base64, with one space between them")
    blob = _decode(encoded)
    if len(blob) <= _ID_BYTES:
        raise NoteRefused("a signature is four bytes of key id and what the key signed")
    return name, blob[:_ID_BYTES], blob[_ID_BYTES:]


def _decoded(data: bytes) -> str:
    try:
        text = data[: MAX_BYTES + 1].decode()
    except UnicodeDecodeError:
        text = "\0"
    if len(data) > MAX_BYTES or _CONTROL.search(text):
        raise NoteRefused(f"a note is UTF-8 of at most {MAX_BYTES} bytes, without control characters")
    return text


def _lines(data: bytes, at_least: int) -> list[str]:
    *lines, last = _decoded(data).split("\n")
    if last or len(lines) < at_least:
        raise NoteRefused(f"expected {at_least} or more lines, each with its newline")
    return lines


def _unlines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > MAX_SIZE:
        raise NoteRefused("a number is decimal, without sign, spaces or leading zeros, and below 2**63")
    return int(text)


def _encode(data: bytes) -> str:
    return b64encode(data).decode()


def _decode(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or _encode(data) != text:  # the last character has spare bits that Python does not look at
        raise NoteRefused("expected standard base64, padded, of at least one byte")
    return data
