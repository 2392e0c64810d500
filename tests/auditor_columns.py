"""What the payload of a record says of its columns, for the auditor that imports nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

_NAMES = {(1, 201): "record", (4, 201): "replay"}  # how answers of these kinds and statuses call themselves


def columns_of(row: Mapping[str, Any], payload: Mapping[str, Any], gone: Collection[str]) -> dict[str, Any]:
    """Read off the payload what columns repeat, of what was not erased."""
    said = {"client_id": "" if "actor" in gone else json.loads(payload["actor"]).get("client_id")}
    meta = {} if "meta" in gone else json.loads(payload["meta"])
    digest = meta.get("made_by", {}).get("digest")
    name = _NAMES.get((row["kind"], row["status"]))
    if name is not None and "output" not in gone:
        output = json.loads(payload["output"])
        said |= {"id": UUID(output[name]), "model": output["model"], "version": output["version"]}
        digest = output.get("digest", digest)
    if row["kind"] == 10 and "output" not in gone:  # an outcome has the model's name, and no artefact made it
        output = json.loads(payload["output"])
        said |= {"model": output.get("model"), "version": output.get("version")}
    return said if digest is None else said | {"digest": bytes.fromhex(digest)}
