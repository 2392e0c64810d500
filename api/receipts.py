"""Receipts: how they are written into a header, read again, and checked with nothing but bytes and a pinned key.

Pure: no database, no network, no clock. The header is a dictionary of RFC 9651 with one spelling when we write it;
read are any order of its members, and members of later releases are passed over.

    OnRecord-Receipt: index=41, size=42, root=:…:, leaf=:…:, salt-input=:…:, salt-output=:…:, proof=:…:,
        key="<origin>+<id of the key>", sig=:…:
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from db.notes import Checkpoint, Proof
from db.tree import HASH_BYTES

HEADER = "OnRecord-Receipt"
SALTS = ("input", "output")  # what a caller can open: its own request and the answer it got
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the engine hands out with an answer; `key` is `<origin>+<eight hex digits>`, as in ledger.pub.

    `hashes` lead from the leaf up to `root`; `signature` is Ed25519 over `Checkpoint(origin, size, root).text()`.
    """

    index: int
    size: int
    root: bytes
    leaf: bytes
    salts: Mapping[str, bytes]
    hashes: tuple[bytes, ...]
    key: str
    signature: bytes

    def proof(self) -> bytes:
        """Write the same as the c2sp tlog-proof that `GET /v1/records/{id}/receipt` would have given then."""
        origin, _, key_id = self.key.rpartition("+")
        text = Checkpoint(origin=origin, size=self.size, root=self.root).text()
        signed = b64encode(bytes.fromhex(key_id) + self.signature).decode()
        note = text + f"\n\N{EM DASH} {origin} {signed}\n".encode()
        return Proof(index=self.index, hashes=self.hashes, checkpoint=note).encode()


def header(receipt: Receipt) -> str:
    """Write the value of the header OnRecord-Receipt, printable ASCII."""
    members = {
        "index": str(receipt.index),
        "size": str(receipt.size),
        "root": _binary(receipt.root),
        "leaf": _binary(receipt.leaf),
        "salt-input": _binary(receipt.salts["input"]),
        "salt-output": _binary(receipt.salts["output"]),
        "proof": _binary(b"".join(receipt.hashes)),
        "key": f'"{receipt.key}"',
        "sig": _binary(receipt.signature),
    }
    return ", ".join(f"{name}={value}" for name, value in members.items())


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
        key=values["key"],
        signature=decoded(values["sig"]),
    )


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
    return f":{b64encode(data).decode()}:"
