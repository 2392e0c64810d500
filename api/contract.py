"""The contract: `openapi/openapi.yaml` and one file per model, composed into ONE OpenAPI 3.0.3 document and checked.

Nothing here knows Connexion, HTTP or a model's artefact. A model's file describes each feature once; from it come
the typed path, the schemas of instance, request, prediction and answer, and later forms and pages.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from api.alerting import rules
from api.alerting.rules import RulesRefused
from api.composition import ANSWERED, ModelContract, add_model
from models import thresholds
from models.thresholds import ThresholdsRefused

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# The only operations that answer without a token. Everything else names at least one scope, or the start is refused.
PUBLIC = frozenset(
    {
        "tokens.issue",
        "tokens.revoke",
        "tokens.introspect",
        "tokens.keys",
        "tokens.metadata",
        "ledger.checkpoint",
        "ledger.consistency",
        "health.live",
        "health.ready",
        "metrics.read",
        "document.read",
    }
)
_KEYED = {"$ref": "#/components/parameters/IdempotencyKey"}
_FORM = "application/x-www-form-urlencoded"


class ContractRefused(Exception):
    """The contract contradicts itself or the house rules; the service does not start."""


# libyaml reads the contract in a quarter of the time, half a second of every start; wheels have it, builds may not.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The composed document, and the models it was composed from, by name."""

    document: Mapping[str, Any]
    models: Mapping[str, ModelContract]

    def operations(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Walk (path, method, operation)."""
        return operations(self.document)

    def public(self, root_path: str) -> bytes:
        """Render the document for callers: no internal `x-` member, addresses under the path prefix."""
        document = _without_internals(self.document)
        document["servers"] = [{"url": root_path or "/", "description": "this service"}]
        flow = document["components"]["securitySchemes"]["token"]["flows"]["clientCredentials"]
        flow["tokenUrl"] = root_path + flow["tokenUrl"]
        return orjson.dumps(document)


def read(folder: Path, max_instances: int) -> Contract:
    """Compose the document from `openapi.yaml` and `models/*.yaml`, and check it.

    Raises:
        ContractRefused: naming the file or the operation, and what is wrong with it.
    """
    document = _yaml(folder / "openapi.yaml")
    found = models(folder)
    for model in found.values():
        add_model(document, model, max_instances)
    check(document)
    for _, _, operation in operations(document):
        _add_shared_responses(operation)
    return Contract(document=document, models=found)


def models(folder: Path) -> dict[str, ModelContract]:
    """Read what `models/*.yaml` says of each model, by its name.

    Raises:
        ContractRefused: naming the file, and what is wrong with it.
    """
    found = (_model(path) for path in sorted((folder / "models").glob("*.yaml")))
    return {model.model: model for model in found}


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Walk (path, method, operation) of a document."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def scopes(document: Mapping[str, Any]) -> tuple[str, ...]:
    """List every scope there is."""
    flows = document["components"]["securitySchemes"]["token"]["flows"]
    return tuple(flows["clientCredentials"]["scopes"])


def check(document: Mapping[str, Any]) -> None:
    """Refuse what would be served wrongly.

    Raises:
        ContractRefused: ambiguous paths, an operationId used twice, an operation without a scope that is not public.
    """
    for one, other in itertools.combinations(document["paths"], 2):
        if _ambiguous(one, other):
            raise ContractRefused(f"the paths {one} and {other} can both match one address; rename one")
    known = set(scopes(document))
    seen: dict[str, str] = {}
    for path, method, operation in operations(document):
        where, name = f"{method.upper()} {path}", operation.get("operationId", "")
        if name in seen:
            raise ContractRefused(f"operationId {name!r} is used by {seen[name]} and {where}")
        seen[name] = where
        _check_security(where, operation, known)


def _check_security(where: str, operation: Mapping[str, Any], known: set[str]) -> None:
    security = operation.get("security")
    if security == [] and operation["operationId"] in PUBLIC:
        return
    wanted = security[0].get("token", []) if isinstance(security, list) and len(security) == 1 else []
    if not wanted:
        raise ContractRefused(
            f"{where} asks for no scope and is not public: give it `security: [{{token: […]}}]`"
        )
    if unknown := set(wanted) - known:
        raise ContractRefused(f"{where} asks for unknown scopes: {', '.join(sorted(unknown))}")


def _ambiguous(one: str, other: str) -> bool:
    """Say whether one address can match both: connexion routes by order, a reader by what is more specific."""
    ours, theirs = one.strip("/").split("/"), other.strip("/").split("/")
    return len(ours) == len(theirs) and all(
        "{" in a or "{" in b or a == b for a, b in zip(ours, theirs, strict=True)
    )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), _LOADER)  # noqa: S506  # both are safe loaders
    except (OSError, yaml.YAMLError) as error:
        raise ContractRefused(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ContractRefused(f"{path} is not a mapping")
    return content


def _model(path: Path) -> ModelContract:
    content = _yaml(path)
    if content.get("model") != path.stem:
        raise ContractRefused(f"{path} must describe the model {path.stem!r}, not {content.get('model')!r}")
    if content.get("output", {}).get("name") in ANSWERED:
        raise ContractRefused(
            f"{path} names its output {content['output']['name']!r}, which answers have already"
        )
    try:
        return ModelContract(
            model=path.stem,
            title=content["title"],
            description=content["description"].strip(),
            features=content["features"],
            output=content["output"],
            examples=tuple(content["examples"]),
            form=content.get("x-form", "page"),
            drift=thresholds.parse(content.get("x-drift", {})),
            alerts=rules.parse(content.get("x-alerts", []), _columns(content)),
        )
    except KeyError as missing:
        raise ContractRefused(f"{path} lacks {missing}") from missing
    except (ThresholdsRefused, RulesRefused) as refused:
        raise ContractRefused(f"{path}: {refused}") from refused


def _columns(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what can be looked at of a model: its features, and its output."""
    return (*content["features"], rules.OUTPUT)


def _add_shared_responses(operation: dict[str, Any]) -> None:
    """Document what every operation of a kind can answer, so that no file has to repeat it."""
    shared = {"400": "BadRequest", "406": "NotAcceptable", "414": "UriTooLong", "417": "ExpectationFailed"}
    shared |= {"431": "HeadersTooLarge", "500": "Failed", "503": "Unavailable"}
    if operation.get("security"):
        shared |= {"429": "QuotaExceeded"} | {"401": "Unauthorized", "403": "Forbidden"}
    if body := operation.get("requestBody"):
        shared |= {
            "408": "RequestTimeout",
            "411": "LengthRequired",
            "413": "TooLarge",
            "415": "UnsupportedMediaType",
        }
        if _FORM in body["content"]:
            shared |= {"429": "QuotaExceeded"}
            del shared["406"]
    if _KEYED in operation.get("parameters", ()):
        shared |= {"409": "InFlight", "422": "KeyReused"}
    if operation["responses"].get("200", {}).get("headers", {}).get("ETag") and not operation.get(
        "requestBody"
    ):
        shared["304"] = "NotModified"
    responses = operation["responses"]
    for status, name in shared.items():
        responses.setdefault(status, {"$ref": f"#/components/responses/{name}"})
    operation["responses"] = dict(sorted(responses.items()))


def _without_internals(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_internals(each) for name, each in node.items() if not name.startswith("x-")}
    if isinstance(node, list):
        return [_without_internals(each) for each in node]
    return copy.copy(node)
