"""A schema of the contract is compiled with what it refers to, and with nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api.problems import MOST_COUNTED
from api.schemas import Schema, _each, pointer, reached

COMPONENTS = {
    "Tree": {
        "type": "object",
        "properties": {
            "leaf": {"$ref": "#/components/schemas/Leaf"},
            "tree": {"$ref": "#/components/schemas/Tree"},
        },
    },
    "Leaf": {"type": "integer", "nullable": True},
    "Stone": {"$ref": "#/components/schemas/Stone"},
}
TREE = {"$ref": "#/components/schemas/Tree"}


def test_what_a_component_refers_to_is_held_as_well() -> None:
    """Through two references, one of them to itself, a wrong value is found where it stands."""
    schema = Schema(TREE, COMPONENTS)

    assert schema.is_valid({"tree": {"tree": {"leaf": None}}})
    violations, count = schema.violations({"tree": {"tree": {"leaf": "no"}}})
    assert ([each["pointer"] for each in violations], count) == (["/tree/tree/leaf"], 1)


def test_what_is_not_referred_to_is_not_carried() -> None:
    """A schema does not hold the whole contract, and what refers to itself is held once."""
    assert reached({"type": "array", "items": TREE}, COMPONENTS).keys() == {"Tree", "Leaf"}
    assert reached({"type": "string"}, COMPONENTS) == {}


ROWS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rows", "name"],
    "properties": {
        "rows": {"$ref": "#/components/schemas/Rows"},
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
HELD = {
    "Rows": {"type": "array", "minItems": 1, "maxItems": 300, "items": {"$ref": "#/components/schemas/Row"}},
    "Row": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}},
}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "n", "rows": [{"a": 1}] * 200 + [{"a": "x"}] + [{"a": 1}] * 63 + [{}, 5]},
        {"name": 5, "rows": [{"a": 1}] * 301, "more": 1, "tags": [1]},
        {"rows": [{"a": None}] * 65, "tags": [1] * 200},
        {"name": "n", "rows": [{"a": 1}], "strange": [1] * 500},
        {"name": "n", "rows": []},
        [{"a": 1}] * 100,
    ],
)
def test_violations_are_the_same_part_by_part(value: Any) -> None:
    """What is wrong with a long list, within it and around it, is named where it would be named in one look."""
    schema = Schema(ROWS, HELD)
    at_once = [(pointer(path), detail) for path, detail in _each(schema._validator.iter_errors(value))]

    part_by_part = [(pointer(path), detail) for path, detail in schema._violations(value)]

    assert at_once
    assert sorted(part_by_part) == sorted(at_once)
    assert schema.violations(value)[1] == len(at_once)


def test_who_sends_much_that_is_wrong_makes_nobody_look_at_all_of_it() -> None:
    """Beyond a thousand violations no further part is looked at: naming each takes a hundred times as long as yes."""
    schema = Schema(ROWS, HELD)
    honest, looked_at = schema._validator, 0

    class Counting:
        def iter_errors(self, value: Any) -> Iterator[Any]:
            nonlocal looked_at
            looked_at += len(value["rows"])
            return iter(honest.iter_errors(value))

    schema._validator = Counting()
    found, count = schema.violations({"name": "n", "rows": [{"a": "x"}] * 10_000})

    assert (len(found), count) == (20, MOST_COUNTED + 1)
    assert looked_at < 2 * MOST_COUNTED
