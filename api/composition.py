"""From one model's file to its part of the contract: a typed path, and the schemas that go with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.alerting.rules import Rule
from models.thresholds import Thresholds

_RECEIPT = {
    "description": (
        "Proves the record's place in the ledger, with these exact bytes of request and answer, to whoever has pinned "
        "the public key; a dictionary (RFC 9651). `python -m api receipt` checks it offline."
    ),
    "schema": {"type": "string", "example": "index=41, size=42, root=:…:, leaf=:…:, …"},
}
# The members of every prediction, so that no regressor's value can be called like one of them.
ANSWERED = frozenset({"id", "reference", "base", "scale", "contributions", "warnings"})
_REGRESSED = "What `base` and `contributions` are in: the unit of the value they add up to."
_CLASSIFIED = (
    "What `base` and `contributions` add up to: `log-odds` (natural logarithm of p / (1 - p), of the answered "
    "`probability`), or `probability` (that one; with more than two labels, the answered label's)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContract:
    """One model as its file declares it; `features` maps names to OpenAPI 3.0 schemas, in training order."""

    model: str
    title: str
    description: str
    features: Mapping[str, Mapping[str, Any]]
    output: Mapping[str, Any]
    examples: tuple[Mapping[str, Any], ...]
    form: str = "page"  # how people are asked: on one page, or in steps
    drift: Thresholds = field(default_factory=Thresholds)
    alerts: tuple[Rule, ...] = ()


def add_model(document: dict[str, Any], model: ModelContract, max_instances: int) -> None:
    """Give the document a model's typed path and its four schemas: instance, request, prediction, answer."""
    schemas = document["components"]["schemas"]
    prefix = "".join(word.capitalize() for word in re.split(r"[._-]", model.model))
    schemas[f"{prefix}Instance"] = _instance(model)
    schemas[f"{prefix}Request"] = _request(model, prefix, max_instances)
    schemas[f"{prefix}Prediction"] = _prediction(model)
    schemas[f"{prefix}Answer"] = _answer(prefix)
    document["paths"][f"/v1/models/{model.model}/predictions"] = {"post": _operation(model, prefix)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _instance(model: ModelContract) -> dict[str, Any]:
    features = {name: described(schema) for name, schema in model.features.items()}
    return {
        "type": "object",
        "description": f"One instance for {model.model}, all features in one object.",
        "additionalProperties": False,
        "required": list(features),
        "properties": {**features, "reference": _ref("Reference")},
        "example": model.examples[0]["instances"][0],
    }


def described(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Say a feature's unit in its description, where every reader of the document sees it."""
    text = schema["description"].strip()
    return {**schema, "description": f"{text} Unit: {schema['x-unit']}." if "x-unit" in schema else text}


def _request(model: ModelContract, prefix: str, max_instances: int) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "The instances to predict, and which version is to answer: by name, by alias, or the champion.",
        "additionalProperties": False,
        "required": ["instances"],
        "properties": {
            "instances": {
                "type": "array",
                "description": "The instances; predictions come in the same order.",
                "minItems": 1,
                "maxItems": max_instances,
                "items": _ref(f"{prefix}Instance"),
            },
            "version": _ref("VersionName"),
            "alias": _ref("AliasName"),
            "explain": _ref("Explain"),
        },
        "not": {"type": "object", "required": ["version", "alias"]},
        # Where a console makes up a request from the schema, it must not fill in both version and alias.
        "example": _body(model.examples[0]),
    }


def _body(example: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in example.items() if name != "summary"}


def _prediction(model: ModelContract) -> dict[str, Any]:
    output = _output_members(model.output)
    return {
        "type": "object",
        "description": model.output["description"],
        "additionalProperties": False,
        "required": ["id", *output, "warnings"],
        "properties": {
            "id": _ref("PredictionId"),
            "reference": _ref("Reference"),
            **output,
            **_explanation(model),
            "warnings": {
                "type": "array",
                "description": "Values that are legal but unlike the training data; empty when all is usual.",
                "items": _ref("Warning"),
            },
        },
    }


def _explanation(model: ModelContract) -> dict[str, Any]:
    """The members that `explain` adds: what every feature added to the answer, against a base."""
    is_regressor = model.output["kind"] == "regressor"
    return {
        "base": _ref("Base"),
        "scale": {
            "type": "string",
            "description": _REGRESSED if is_regressor else _CLASSIFIED,
            "enum": ["value"] if is_regressor else ["log-odds", "probability"],
        },
        "contributions": {
            "type": "array",
            "description": (
                "What each feature added, in the order of the features; with `base` they add up to the answer on "
                "`scale`. There only if `explain` was asked for."
            ),
            "minItems": len(model.features),
            "maxItems": len(model.features),
            "items": {
                "type": "object",
                "description": "One feature, the value it had, and what that added to the answer.",
                "additionalProperties": False,
                "required": ["feature", "value", "contribution"],
                "properties": {
                    "feature": {
                        "type": "string",
                        "description": "The feature.",
                        "enum": list(model.features),
                    },
                    "value": {
                        "description": "Its value as it was sent; null where it was missing.",
                        "nullable": True,
                    },
                    "contribution": _ref("Contribution"),
                },
            },
        },
    }


def _output_members(output: Mapping[str, Any]) -> dict[str, Any]:
    if output["kind"] == "regressor":
        about = {
            "type": "number",
            "format": "double",
            "description": output["description"],
            "x-unit": output.get("x-unit"),
        }
        if about["x-unit"] is None:
            del about["x-unit"]
        return {output["name"]: described(about)}
    label = {"type": "string", "description": "The answered label.", "enum": list(output["labels"])}
    if "positive" in output:
        text = f"The probability of `{output['positive']}`, 0 to 1."
        probability = {"type": "number", "format": "double", "minimum": 0, "maximum": 1, "description": text}
        return {"label": label, "probability": probability}
    share = {
        "type": "number",
        "format": "double",
        "minimum": 0,
        "maximum": 1,
        "description": "The label's probability, 0 to 1.",
    }
    probabilities = {
        "type": "object",
        "description": "The probability of every label; they add up to 1.",
        "additionalProperties": False,
        "required": list(output["labels"]),
        "properties": {name: dict(share) for name in output["labels"]},
    }
    return {"label": label, "probabilities": probabilities}


def _answer(prefix: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "The predictions. These exact bytes are what the record holds.",
        "additionalProperties": False,
        "required": ["record", "model", "version", "predictions"],
        "properties": {
            "record": _ref("RecordId"),
            "model": _ref("ModelName"),
            "version": _ref("VersionName"),
            "predictions": {
                "type": "array",
                "description": "One prediction for each instance, in the order of the request.",
                "items": _ref(f"{prefix}Prediction"),
            },
        },
    }


def _operation(model: ModelContract, prefix: str) -> dict[str, Any]:
    examples = {
        f"example-{number}": {
            "summary": example["summary"],
            "value": _body(example),
        }
        for number, example in enumerate(model.examples, 1)
    }
    return {
        "operationId": f"predictions.create_{model.model.replace('-', '_').replace('.', '_')}",
        "x-handler": "predictions.create",
        "x-model": model.model,
        "tags": ["predictions"],
        "summary": f"Predict: {model.title}.",
        "description": f"{model.description}\n\n201 means: the answer is on record, durably, with its exact request.",
        "security": [{"token": ["predict"]}],
        "parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(f"{prefix}Request"), "examples": examples}},
        },
        "responses": {
            "201": {
                "description": "The predictions, on record.",
                "headers": {
                    "Location": {
                        "description": "Where the record can be read.",
                        "schema": {"type": "string", "format": "uri-reference", "example": "/v1/records/…"},
                    },
                    "OnRecord-Receipt": _RECEIPT,
                    "Idempotent-Replayed": {"$ref": "#/components/headers/IdempotentReplayed"},
                },
                "content": {"application/json": {"schema": _ref(f"{prefix}Answer")}},
            },
            "404": {"$ref": "#/components/responses/NotFound"},
            "409": {"$ref": "#/components/responses/ModelRefused"},
            "410": {"$ref": "#/components/responses/Erased"},
            "422": {"$ref": "#/components/responses/InvalidFeatures"},
        },
    }  # fmt: skip
