"""The ledger as strangers see it: receipts, checkpoints, and proofs that it has only grown."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from uuid import UUID

from api.calls import Answer, Call
from api.predictions import own
from api.problems import RequestRefused
from db.notes import Proof
from db.proofs import NotProvable, Proofs


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Hands out proofs; whether to believe them is for the caller's pinned key to say."""

    proofs: Proofs

    def receipt(self, call: Call) -> Answer:
        """Prove one record under the newest checkpoint; another client's answers like one that does not exist."""
        record = UUID(call.path["id"])
        try:
            proven = self.proofs.receipt(record, own(call.caller))
        except NotProvable as early:
            raise RequestRefused("not-found", str(early)) from early
        proof = Proof(index=proven.index, hashes=proven.hashes, checkpoint=proven.checkpoint)
        content = {
            "record": str(record),
            "index": proven.index,
            "leaf": _text(proven.leaf),
            "salts": {name: _text(salt) for name, salt in proven.salts.items()},
            "proof": proof.encode().decode(),
        }
        return Answer(content=content)

    def checkpoint(self, _call: Call) -> Answer:
        """Show the newest signed checkpoint."""
        try:
            note = self.proofs.checkpoint()
        except NotProvable as early:
            raise RequestRefused("not-found", str(early)) from early
        return Answer(content=note, media_type="text/plain", headers=_FRESH)

    def consistency(self, call: Call) -> Answer:
        """Prove that the ledger has only grown from one size to another."""
        older, newer = call.query["from"], call.query["to"]
        try:
            hashes = self.proofs.consistency(older, newer)
        except NotProvable as beyond:
            raise RequestRefused("not-found", str(beyond)) from beyond
        return Answer(
            content={"from": older, "to": newer, "hashes": list(map(_text, hashes))}, headers=_FRESH
        )


_FRESH = {"Cache-Control": "no-store"}  # what is newest, and what does not exist yet, is so for a second


def _text(data: bytes) -> str:
    return b64encode(data).decode()
