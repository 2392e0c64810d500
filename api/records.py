"""Records, byte for byte: what an auditor compares and a caller keeps a link to."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from api import times
from api.calls import Answer, Call
from api.predictions import own
from db.lookups import FoundRecord, Lookups


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Reads single records."""

    lookups: Lookups

    def read(self, call: Call) -> Answer:
        """Show one record; another client's answers like one that does not exist."""
        return Answer(content=_shown(self.lookups.record(UUID(call.path["id"]), own(call.caller))))


def _shown(found: FoundRecord) -> dict[str, Any]:
    content: dict[str, Any] = {
        "record": str(found.id),
        "index": found.idx,
        "kind": found.kind.name.lower(),
        "status": found.status,
        "at": times.text(found.observed_at_us),
        "client": found.client_id,
        "input": base64.b64encode(found.input).decode(),
        "output": base64.b64encode(found.output).decode(),
        "actor": orjson.loads(found.actor),
        "meta": orjson.loads(found.meta),
    }
    digest = None if found.digest is None else found.digest.hex()
    optional = {"model": found.model, "version": found.version, "digest": digest}
    return content | {name: value for name, value in optional.items() if value is not None}
