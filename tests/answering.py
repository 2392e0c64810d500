"""Records of requests to models of any kind, with features and answers as one likes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from db.auditing_rows import score
from db.records import Kind, PredictionRow, Record, new_id, prediction_id
from tests.ledgers import NOON_US

Given = Mapping[str, Any]


def recorded(
    *pairs: tuple[Given, Given],
    model: str = "income",
    version: str = "1",
    at_us: int = NOON_US,
    status: int = 201,
) -> Record:
    """Make the record of one request: each pair is an instance and its answer."""
    record_id = new_id(at_us)
    answers = [
        {"id": prediction_id(record_id, at), **_echoed(instance), "warnings": [], **answer}
        for at, (instance, answer) in enumerate(pairs)
    ]
    content = {"record": str(record_id), "model": model, "version": version, "predictions": answers}
    return Record(
        id=record_id,
        kind=Kind.PREDICTION,
        observed_at_us=at_us,
        client_id="demo-a",
        model=model,
        version=version,
        digest=bytes(32),
        status=status,
        input=json.dumps({"instances": [instance for instance, _ in pairs]}).encode(),
        output=json.dumps(content).encode(),
        actor=b'{"client_id": "demo-a"}',
        meta=json.dumps(
            {"model": model, "version": version, "made_by": {"digest": bytes(32).hex()}}
        ).encode(),
        rows=_rows(pairs) if status == 201 else (),
    )


def _echoed(instance: Given) -> Given:
    return {name: value for name, value in instance.items() if name == "reference"}


def _rows(pairs: Sequence[tuple[Given, Given]]) -> tuple[PredictionRow, ...]:
    return tuple(
        PredictionRow(
            position=at,
            reference=instance.get("reference"),
            label=answer.get("label"),
            score=score({"id": "", "warnings": [], **answer}),
        )
        for at, (instance, answer) in enumerate(pairs)
    )
