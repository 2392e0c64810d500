"""The contract is the truth: composed of its files, checked before anything is served, and shown without internals."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from api import contract
from api.app import CONTRACT
from api.problems import PROBLEMS
from db.clients import SCOPES

AGREED = contract.read(CONTRACT, 10_000)
DOCUMENT = AGREED.document


def _operations() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method.upper()} {path}", dict(operation)) for path, method, operation in AGREED.operations()]


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for member, about in schema.get("properties", {}).items():
            yield f"{name}.{member}", _resolve(about)


def test_the_document_is_openapi() -> None:
    """An independent validator accepts the composed document, as held and as shown, also under a prefix."""
    validate(DOCUMENT)
    validate(json.loads(AGREED.public("")))
    validate(json.loads(AGREED.public("/ml")))


def test_every_model_has_a_typed_path() -> None:
    """Each file in openapi/models becomes one path whose instances name exactly its features."""
    files = sorted(path.stem for path in (CONTRACT / "models").glob("*.yaml"))

    assert files == sorted(AGREED.models)
    for name, model in AGREED.models.items():
        body = DOCUMENT["paths"][f"/v1/models/{name}/predictions"]["post"]["requestBody"]
        request = _resolve(body["content"]["application/json"]["schema"])
        instance = _resolve(request["properties"]["instances"]["items"])
        assert list(instance["properties"]) == [*model.features, "reference"]
        assert instance["required"] == list(model.features)
        assert instance["additionalProperties"] is False


def test_the_shown_document_keeps_its_internals() -> None:
    """No member that only the service itself understands is shown to callers."""
    assert not re.search(r'"x-', AGREED.public("").decode())


def test_the_shown_document_knows_its_prefix() -> None:
    """Behind a path prefix, a reader of the document finds the service and its token endpoint."""
    shown = json.loads(AGREED.public("/ml"))

    assert shown["servers"][0]["url"] == "/ml"
    flow = shown["components"]["securitySchemes"]["token"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "/ml/oauth/token"


@pytest.mark.parametrize(
    ("where", "operation"), _operations(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_operation_says_what_it_does(where: str, operation: dict[str, Any]) -> None:
    """Summary, a description that says what success means, a tag, and every status it shares with its kind."""
    assert operation["summary"].endswith("."), where
    assert re.search(r"\b20[01]\b", operation["description"]), where
    assert operation["tags"], where
    expected = {"400", "500", "503"} | ({"401", "403"} if operation["security"] else set())
    expected |= {"411", "413", "415"} if "requestBody" in operation else set()
    assert expected <= operation["responses"].keys(), where


@pytest.mark.parametrize(
    ("name", "about"), list(_schemas()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_field_is_described_and_exemplified(name: str, about: dict[str, Any]) -> None:
    """A reader of the document meets no field without a sentence about it, nor a plain one without an example."""
    assert about.get("description"), name
    composite = about.get("type") in ("object", "array", "boolean") or "oneOf" in about or "enum" in about
    has_range = "minimum" in about and "maximum" in about
    assert composite or has_range or "example" in about or about.get("type") == "number", name


def test_every_example_matches_its_schema() -> None:
    """The examples that a reader copies are accepted by the schemas beside them."""
    from api.schemas import Schema

    components = DOCUMENT["components"]["schemas"]
    for path, _, operation in AGREED.operations():
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = Schema(content["schema"], components)
            for example in content.get("examples", {}).values():
                assert schema.violations(example["value"]) == ([], 0), (path, media)
    for name, schema in components.items():
        if "example" in schema:
            assert Schema(schema, components).violations(schema["example"]) == ([], 0), name


def test_every_documented_problem_is_one_of_ours() -> None:
    """The examples of problems are rows of the table of problems: same type, title and status."""
    for response in DOCUMENT["components"]["responses"].values():
        example = response.get("content", {}).get("application/problem+json", {}).get("example")
        if example:
            kind = PROBLEMS[example["type"].removeprefix("/problems/")]
            assert (kind.title, kind.status) == (example["title"], example["status"])


def test_the_scopes_are_those_a_client_can_have() -> None:
    """Contract and database know the same scopes."""
    assert set(contract.scopes(DOCUMENT)) == SCOPES


Edit = Callable[[dict[str, Any]], None]


def _rename(path: str, other: str) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        document["paths"][other] = document["paths"][path]

    return edit


def _change(path: str, method: str, **members: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        document["paths"][path][method].update(members)

    return edit


WRONG: dict[str, tuple[Edit, str]] = {
    "two paths for one address": (
        lambda document: document["paths"].update({"/v1/models/{name}": {"get": {}}}),
        "/v1/models/{model} and /v1/models/{name}",
    ),
    "a path hidden by a template": (
        lambda document: document["paths"].update({"/v1/predictions/latest": {"get": {}}}),
        "/v1/predictions/latest",
    ),
    "an operationId used twice": (_change("/v1/models", "get", operationId="catalog.read"), "catalog.read"),
    "an open operation": (_change("/v1/models", "get", security=[]), "GET /v1/models"),
    "an operation without security": (_change("/v1/models", "get", security=None), "GET /v1/models"),
    "an operation without a scope": (
        _change("/v1/models", "get", security=[{"token": []}]),
        "GET /v1/models",
    ),
    "security that may be absent": (
        _change("/v1/models", "get", security=[{"token": ["models:read"]}, {}]),
        "GET /v1/models",
    ),
    "a scope nobody can have": (_change("/v1/models", "get", security=[{"token": ["root"]}]), "root"),
}


@pytest.mark.parametrize(("edit", "named"), WRONG.values(), ids=WRONG.keys())
def test_a_contract_that_would_be_served_wrongly_is_refused(tmp_path: Path, edit: Edit, named: str) -> None:
    """Every contradiction stops the start and is named."""
    folder = _copy(tmp_path, edit)

    with pytest.raises(contract.ContractRefused, match=re.escape(named)):
        contract.read(folder, 10)


def test_an_operation_without_a_handler_stops_the_start(tmp_path: Path) -> None:
    """An operationId that no handler has is an error when the door starts, not an answer later."""
    from types import SimpleNamespace

    from connexion.exceptions import ResolverError

    from api import direct

    agreed = contract.read(_copy(tmp_path, lambda _: None), 10)

    with pytest.raises(ResolverError):
        direct.connect(agreed, SimpleNamespace(), lambda *_: None, 1000, _no_lifespan)


def _no_lifespan(_app: object) -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_a_model_file_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    """The file's name is the model's name."""
    folder = _copy(tmp_path, lambda _: None)
    (folder / "models" / "housing.yaml").rename(folder / "models" / "homes.yaml")

    with pytest.raises(contract.ContractRefused, match="homes"):
        contract.read(folder, 10)


def test_an_output_called_like_something_else_is_refused(tmp_path: Path) -> None:
    """A regressor's value must not have the name of a member that every answer has."""
    folder = _copy(tmp_path, lambda _: None)
    path = folder / "models" / "housing.yaml"
    path.write_text(path.read_text().replace("name: price", "name: base"))

    with pytest.raises(contract.ContractRefused, match="'base'"):
        contract.read(folder, 10)


def _copy(tmp_path: Path, edit: Edit) -> Path:
    folder = tmp_path / "openapi"
    shutil.copytree(CONTRACT, folder)
    path = folder / "openapi.yaml"
    document = yaml.safe_load(path.read_text())
    edit(document)
    path.write_text(yaml.safe_dump(document))
    return folder
