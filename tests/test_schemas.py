"""A schema of the contract is compiled with what it refers to, and with nothing else."""

from __future__ import annotations

from api.schemas import Schema, reached

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
