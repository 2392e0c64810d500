"""Receipts: how they are written into a header, read again, and checked with nothing but bytes and a pinned key.

Pure: no database, no network, no clock. The header is a dictionary of RFC 9651 with one spelling when we write it;
read are any order of its members, and members of later releases are passed over.

    OnRecord-Receipt: index=41, size=42, root=:…:, leaf=:…:, salt-input=:…:, salt-output=:…:, proof=:…:,
        key="<origin>+<id of the key>", sig=:…:
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from api import times
from db import epochs
from db.notes import Checkpoint, NoteRefused, Proof, SignedCheckpoint, VerifierKey, verify_proof
from db.records import LeafRefused, Receipt, commitment, read_leaf
from db.submissions import stated
from db.tree import HASH_BYTES, ProofRefused

HEADER = "OnRecord-Receipt"
WORDS = {"input": "request", "output": "answer"}
SALTS = tuple(WORDS)  # what a caller can open: its own request and the answer it got
MAX_HEADER = 8192  # characters; the largest tree there can be needs half of it
_LARGEST = 10**15 - 1  # RFC 9651 section 3.3.1: an integer has at most 15 digits
_KEY = re.compile(r"[!#-*,-\[\]-~]+\+[0-9a-f]{8}")  # a name that can stand in a quoted string as it is
_MEMBER = re.compile(
    r"[ \t]*(?P<name>[a-z*][a-z0-9_.*-]*)="
    r'(?:(?P<number>-?[0-9]{1,15})|:(?P<binary>[A-Za-z0-9+/=]*):|"(?P<text>[ !#-\[\]-~]*)")[ \t]*(?:,(?!$)|$)'
)
_KINDS = {
    "index": "number",
    "size": "number",
    "root": "binary",
    "leaf": "binary",
    "salt-input": "binary",
    "salt-output": "binary",
    "proof": "binary",
    "key": "text",
    "sig": "binary",
}


class ReceiptUnreadable(Exception):
    """What was to be a receipt is none; the message says why."""


class ReceiptFalse(Exception):
    """A receipt does not hold; the message names the first thing that does not match."""


class ReceiptUnwitnessed(Exception):
    """Everything holds, but these witnesses have not cosigned the checkpoint."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"not cosigned by {', '.join(names)}: ask for the receipt again in a minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A receipt as both of its forms say it: leaf, salts, and a C2SP tlog-proof; the rest must agree with these."""

    leaf: bytes
    salts: Mapping[str, bytes]
    proof: bytes
    record: str | None = None
    index: int | None = None


def header(receipt: Receipt) -> str:
    """Write the value of the header OnRecord-Receipt, printable ASCII."""
    opened = receipt.salts
    return (
        f"index={receipt.index}, size={receipt.size}, root={_binary(receipt.root)}, leaf={_binary(receipt.leaf)}, "
        f"salt-input={_binary(opened['input'])}, salt-output={_binary(opened['output'])}, "
        f'proof={_binary(b"".join(receipt.hashes))}, key="{receipt.key_id}", sig={_binary(receipt.signature)}'
    )


def read(header: str) -> Receipt:
    """Read the header's value, believing nothing of it.

    Raises:
        ReceiptUnreadable: it is no such dictionary, or a member is missing, there twice or of another kind.
    """
    members = _members(header)
    for name, kind in _KINDS.items():
        if name not in members or members[name][0] != kind:
            raise ReceiptUnreadable(f"the receipt has no member {name} that is a {kind}")
    values = {name: members[name][1] for name in _KINDS}
    numbers = {name: _number(values[name]) for name in ("index", "size")}
    if not _KEY.fullmatch(values["key"]):
        raise ReceiptUnreadable('the member key reads "<origin>+<eight lower-case hex digits>"')
    joined = decoded(values["proof"])
    if len(joined) % HASH_BYTES:
        raise ReceiptUnreadable(f"the member proof is made of hashes of {HASH_BYTES} bytes each")
    return Receipt(
        **numbers,
        root=decoded(values["root"]),
        leaf=decoded(values["leaf"]),
        salts={name: decoded(values[f"salt-{name}"]) for name in SALTS},
        hashes=tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)),
        key_id=values["key"],
        signature=decoded(values["sig"]),
    )


def evidence(data: bytes) -> Evidence:
    """Read what a caller has kept: the JSON of `GET /v1/records/{id}/receipt`, or response headers (`curl -D`).

    Raises:
        ReceiptUnreadable: it is neither, or holds no receipt, or more than one.
    """
    try:
        text = data.decode()
        found = _from_json(text) if text.lstrip().startswith("{") else _from_headers(text)
        Proof.parse(found.proof)
    except UnicodeDecodeError:
        raise ReceiptUnreadable("a receipt is text in UTF-8") from None
    except NoteRefused as refused:
        raise ReceiptUnreadable(str(refused)) from refused
    return found


def proof(receipt: Receipt) -> bytes:
    """Write as a C2SP tlog-proof what a header says."""
    origin, _, key_id = receipt.key_id.rpartition("+")
    text = Checkpoint(origin=origin, size=receipt.size, root=receipt.root).text()
    signed = b64encode(bytes.fromhex(key_id) + receipt.signature).decode()
    note = text + f"\n\N{EM DASH} {origin} {signed}\n".encode()
    return Proof(index=receipt.index, hashes=receipt.hashes, checkpoint=note).encode()


def check(
    evidence: Evidence, key: VerifierKey, witnesses: Sequence[VerifierKey] = (), **contents: bytes | None
) -> Iterator[str]:
    """Check everything in turn, saying each time what holds; `input` and `output` are exact bytes, or None.

    Nothing of the receipt is believed before the pinned key has signed for it.

    Raises:
        ReceiptFalse: the first thing that does not match.
    """
    epoch = _epoch(evidence, key)
    signed = _proven(evidence, epochs.key_of(key, epoch), witnesses)
    yield from _signed(signed, key, epoch)
    index = Proof.parse(evidence.proof).index
    try:
        leaf = read_leaf(evidence.leaf)
    except LeafRefused as refused:  # the ledger has it, so it is of a later release
        raise ReceiptUnreadable(str(refused)) from refused
    if evidence.record not in (None, str(leaf.id)) or evidence.index not in (None, index):
        raise ReceiptFalse(
            f"this proves record {leaf.id} at index {index}, not what the receipt says it is of"
        )
    at = times.text(leaf.observed_at_us)
    yield f"record      {leaf.id} is number {index} of them: {leaf.kind.name.lower()}, {leaf.status}, {at}"
    for name in SALTS:
        content = contents.get(name)
        if content is None:
            yield f"{WORDS[name]:<12}not compared: give its exact bytes with --{name}"
        elif commitment(evidence.salts[name], name, content) != getattr(leaf, name):
            raise ReceiptFalse(f"the {WORDS[name]} on record is another than these {len(content)} bytes")
        else:
            yield f"{WORDS[name]:<12}these {len(content)} bytes are those on record"
    if unseen := [each.name for each in witnesses if each not in dict(signed.seen_at_s)]:
        raise ReceiptUnwitnessed(unseen)


def _epoch(evidence: Evidence, key: VerifierKey) -> int:
    """Say of which epoch the receipt claims to be; one of another ledger is refused by its signature."""
    try:
        return epochs.epoch_of(stated(Proof.parse(evidence.proof).checkpoint).origin, key)
    except NoteRefused:
        return 0


def _signed(signed: SignedCheckpoint, key: VerifierKey, epoch: int) -> Iterator[str]:
    size = signed.checkpoint.size
    yield f"checkpoint  signed by {signed.checkpoint.origin} with the pinned key: {size} records"
    if epoch:
        yield f"epoch       {epoch} of {key.name}: a restored backup was declared; ask what was lost with it"
    for witness, at_s in signed.seen_at_s:
        yield f"witness     {witness.name} saw this checkpoint at {times.text(at_s * 1_000_000)}"


def _proven(evidence: Evidence, key: VerifierKey, witnesses: Sequence[VerifierKey]) -> SignedCheckpoint:
    try:
        return verify_proof(evidence.proof, evidence.leaf, key, witnesses)
    except NoteRefused as refused:
        raise ReceiptFalse(
            f"the checkpoint is not one of {key.name} and the pinned key: {refused}"
        ) from refused
    except ProofRefused as refused:
        raise ReceiptFalse(f"the leaf is not in the ledger of that checkpoint: {refused}") from refused


def _from_headers(text: str) -> Evidence:
    found = re.findall(rf"^{HEADER}:(.*?)\r?$", text, re.IGNORECASE | re.MULTILINE)
    if len(found) != 1:
        raise ReceiptUnreadable(f"there are {len(found)} headers {HEADER} in this file, where one belongs")
    receipt = read(found[0])
    return Evidence(leaf=receipt.leaf, salts=receipt.salts, proof=proof(receipt))


def _from_json(text: str) -> Evidence:
    try:
        content = json.loads(text)
        index = content["index"]
        leaf, record, proven = (_text(content[name]) for name in ("leaf", "record", "proof"))
        proven_bytes = proven.encode()
        salts = {name: decoded(_text(content["salts"][name])) for name in SALTS}
    except (ValueError, KeyError, TypeError, RecursionError) as wrong:
        raise ReceiptUnreadable(
            "the file is not the JSON of a receipt: record, index, leaf, salts, proof"
        ) from wrong
    if type(index) is not int:
        raise ReceiptUnreadable("the member index is not a whole number")
    return Evidence(leaf=decoded(leaf), salts=salts, proof=proven_bytes, record=record, index=index)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def decoded(text: str) -> bytes:
    """Read Base64 that has one spelling: padded, nothing in between, no spare bits."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise ReceiptUnreadable("expected standard Base64, padded") from None
    if b64encode(data).decode() != text:  # the last character has spare bits that Python does not look at
        raise ReceiptUnreadable("expected standard Base64 without spare bits")
    return data


def _members(header: str) -> dict[str, tuple[str, str]]:
    if len(header) > MAX_HEADER:
        raise ReceiptUnreadable(f"a receipt in a header has at most {MAX_HEADER} characters")
    members: dict[str, tuple[str, str]] = {}
    at = 0
    while at < len(header):
        if not (match := _MEMBER.match(header, at)):
            raise ReceiptUnreadable("a receipt is a dictionary of RFC 9651: name=value, name=value, …")
        if match["name"] in members:  # the RFC takes the last; here nobody may have two views of one receipt
            raise ReceiptUnreadable(f"the receipt has two members {match['name']}")
        kind = next(kind for kind in ("number", "binary", "text") if match[kind] is not None)
        members[match["name"]] = kind, match[kind]
        at = match.end()
    return members


def _number(text: str) -> int:
    if str(int(text)) != text or not 0 <= int(text) <= _LARGEST:
        raise ReceiptUnreadable("index and size are whole numbers from 0, without leading zeros")
    return int(text)


def _binary(data: bytes) -> str:
    return f":{b2a_base64(data, newline=False).decode()}:"
