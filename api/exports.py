"""What an export says of a prediction: its columns are read off the contract, its cells off the exact bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from api.composition import ModelContract

if TYPE_CHECKING:
    from db.exporting import Exported, Happened

FEATURE, OUTPUT = "feature_", "output_"
_FIXED = {
    "record": "text", "position": "integer", "at": "time", "client": "text", "version": "text",
    "reference": "text",
}  # fmt: skip


def columns(model: ModelContract) -> dict[str, str]:
    """Name the columns of a model's predictions in order, each with the kind of its values.

    Names of features and outputs have a prefix: a contract may call them as it likes, also `client` or `outcome`.
    """
    found = dict(_FIXED)
    found |= {FEATURE + name: _kind(schema) for name, schema in model.features.items()}
    output = model.output
    if output["kind"] == "regressor":
        found[OUTPUT + output["name"]] = "number"
    else:
        found[OUTPUT + "label"] = "text"
        shares = (
            ["probability"] if "positive" in output else [f"probability_{each}" for each in output["labels"]]
        )
        found |= {OUTPUT + each: "number" for each in shares}
    outcome = "number" if output["kind"] == "regressor" else "text"
    return found | {"warnings": "warnings", "outcome": outcome, "outcome_at": "time"}


def rows(found: Exported) -> Iterator[dict[str, Any]]:
    """Give the cells of each instance of a request, by column."""
    instances = orjson.loads(found.input)["instances"]
    answers = orjson.loads(found.output)["predictions"]
    shared = {
        "record": str(found.id),
        "at": found.observed_at_us,
        "client": found.client_id or None,
        "version": found.version,
    }
    for position, (instance, answer) in enumerate(zip(instances, answers, strict=True)):
        cells = shared | {"position": position, "reference": instance.get("reference")}
        cells |= {FEATURE + name: value for name, value in instance.items()}
        yield cells | _answered(answer) | _happened(found.outcomes.get(position))


def _answered(answer: Mapping[str, Any]) -> dict[str, Any]:
    cells = {OUTPUT + name: value for name, value in answer.items()}
    for label, share in answer.get("probabilities", {}).items():
        cells[f"{OUTPUT}probability_{label}"] = share
    return cells | {"warnings": answer["warnings"]}


def _happened(outcome: Happened | None) -> dict[str, Any]:
    if outcome is None or (outcome.value is None and outcome.number is None):
        return {}
    value = outcome.value if outcome.number is None else outcome.number
    return {"outcome": value, "outcome_at": outcome.observed_at_us}


def _kind(schema: Mapping[str, Any]) -> str:
    """Say what a feature's values are; one that may be a number or decimal text is a number."""
    kinds = {each.get("type") for each in schema.get("oneOf", [schema])}
    for kind in ("number", "integer", "boolean"):
        if kind in kinds:
            return kind
    return "text"
