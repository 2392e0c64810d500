"""Records, byte for byte: what an auditor compares and a caller keeps a link to."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from api import times
from api.calls import Answer, Call
from api.predictions import own
from db.erased import Erased
from db.lookups import FoundRecord, Lookups


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Reads single records."""

    lookups: Lookups

    def read(self, call: Call) -> Answer:
        """Show one record; another client's answers like one that does not exist."""
        return Answer(content=_shown(self.lookups.record(UUID(call.path["id"]), own(call.caller))))


def erasures(found: Iterable[Erased]) -> list[dict[str, Any]]:
    """Show what erased a record, the first erasure first; who did is left out where that was erased itself."""
    return [
        {
            "record": str(each.erasure),
            "at": times.text(each.at_us),
            "ground": each.ground,
            "fields": list(each.fields),
        }
        | ({"by": each.client_id} if each.client_id else {})
        for each in found
    ]


def _shown(found: FoundRecord) -> dict[str, Any]:
    content: dict[str, Any] = {
        "record": str(found.id),
        "index": found.idx,
        "kind": found.kind.name.lower(),
        "status": found.status,
        "at": times.text(found.observed_at_us),
    }
    optional = {
        "client": found.client_id or None,
        "input": _base64(found.input),
        "output": _base64(found.output),
        "actor": None if found.actor is None else orjson.loads(found.actor),
        "meta": None if found.meta is None else _without_digest(orjson.loads(found.meta)),
        "model": found.model,
        "version": found.version,
        "digest": None if found.digest is None else found.digest.hex(),
        "erased": erasures(found.erasures) or None,
    }
    return content | {name: value for name, value in optional.items() if value is not None}


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _without_digest(meta: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a secret hashes to: it is on record for verification only."""
    return {name: value for name, value in meta.items() if name != "secret_digest"}
