"""Whoever holds a receipt: what a caller in any language does with it, from the documents alone.

Nothing of OnRecord is imported: hashes, one signature, and the layout of the leaf. A mistake that writer and verifier
make together shows here.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    """The receipt does not hold."""


@dataclass(frozen=True)
class Held:
    """A receipt, taken apart."""

    index: int
    size: int
    root: bytes
    leaf: bytes
    salts: dict[str, bytes]
    path: list[bytes]
    name: str
    key_id: bytes
    signature: bytes


def of_header(header: str) -> Held:
    """Take the header apart."""
    parts = dict(part.split("=", 1) for part in header.split(", "))
    data = {name: b64decode(value[1:-1]) for name, value in parts.items() if value[0] == ":"}
    name, _, key_id = parts["key"].strip('"').rpartition("+")
    path = [data["proof"][at : at + 32] for at in range(0, len(data["proof"]), 32)]
    salts = {"input": data["salt-input"], "output": data["salt-output"]}
    return Held(
        index=int(parts["index"]),
        size=int(parts["size"]),
        root=data["root"],
        leaf=data["leaf"],
        salts=salts,
        path=path,
        name=name,
        key_id=bytes.fromhex(key_id),
        signature=data["sig"],
    )


def of_json(content: dict[str, object]) -> Held:
    """Take the JSON apart, with the C2SP tlog-proof in it."""
    proof, text, signatures = str(content["proof"]).split("\n\n")
    header, index, *path = proof.split("\n")
    assert header == "c2sp.org/tlog-proof@v1"
    assert index == f"index {content['index']}"
    salts = content["salts"]
    assert isinstance(salts, dict)
    signed = of_note(f"{text}\n\n{signatures}")
    return replace(
        signed,
        index=int(index.split()[1]),
        leaf=b64decode(str(content["leaf"])),
        salts={name: b64decode(salt) for name, salt in salts.items()},
        path=list(map(b64decode, path)),
    )


def of_note(note: str) -> Held:
    """Take a signed checkpoint apart; what only a receipt has is empty."""
    text, signatures = note.split("\n\n")
    name, size, root = text.split("\n")
    dash, signer, blob = signatures.removesuffix("\n").split(" ")
    assert (dash, signer) == ("\N{EM DASH}", name)
    raw = b64decode(blob)
    return Held(0, int(size), b64decode(root), b"", {}, [], name, raw[:4], raw[4:])


def check_signature(held: Held, key: str) -> None:
    """Check size and root against the pinned key, a line of ledger.pub."""
    name, key_id, encoded = key.strip().split("+", 2)
    public = b64decode(encoded)
    if (name, bytes.fromhex(key_id)) != (held.name, held.key_id) or public[0] != 1:
        raise Refused("another key")
    text = f"{name}\n{held.size}\n{b64encode(held.root).decode()}\n"
    try:
        Ed25519PublicKey.from_public_bytes(public[1:]).verify(held.signature, text.encode())
    except InvalidSignature:
        raise Refused("the signature is false") from None


def check(held: Held, key: str, sent: bytes, answered: bytes) -> UUID:
    """Check the whole receipt with nothing but bytes and the pinned key; return which record it is of."""
    check_signature(held, key)
    if not 0 <= held.index < held.size:
        raise Refused("no such leaf")
    if _root(held.index, held.size, sha256(b"\0" + held.leaf).digest(), held.path) != held.root:
        raise Refused("another root")
    if len(held.leaf) != 220 or held.leaf[0] != 1:
        raise Refused("no leaf")
    for name, content, at in (("input", sent, 92), ("output", answered, 124)):
        committed = hmac.new(held.salts[name], f"{name}/v1".encode() + content, sha256).digest()
        if committed != held.leaf[at : at + 32]:
            raise Refused(f"another {name}")
    return UUID(bytes=held.leaf[4:20])


def check_grown(older: Held, newer: Held, proof: Sequence[bytes]) -> None:
    """Check that the tree of `newer` begins with that of `older` (RFC 6962, 2.1.2, read backwards)."""
    if _roots(older.size, newer.size, list(proof), older.root, whole=True) != (older.root, newer.root):
        raise Refused("not the same ledger")


def _root(index: int, size: int, hashed: bytes, path: list[bytes]) -> bytes:
    if size == 1 or not path:
        if size != 1 or path:
            raise Refused("a hash too many or too few")
        return hashed
    half = _half(size)
    if index < half:
        return _node(_root(index, half, hashed, path[:-1]), path[-1])
    return _node(path[-1], _root(index - half, size - half, hashed, path[:-1]))


def _roots(m: int, n: int, proof: list[bytes], root: bytes, *, whole: bool) -> tuple[bytes, bytes]:
    if m == n:
        if len(proof) != (not whole):
            raise Refused("a hash too many or too few")
        [hashed] = [root] if whole else proof
        return hashed, hashed
    if not proof:
        raise Refused("a hash too few")
    half = _half(n)
    if m <= half:
        older, newer = _roots(m, half, proof[:-1], root, whole=whole)
        return older, _node(newer, proof[-1])
    older, newer = _roots(m - half, n - half, proof[:-1], root, whole=False)
    return _node(proof[-1], older), _node(proof[-1], newer)


def _half(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()
