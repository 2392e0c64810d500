"""Schemas of the contract, compiled once at start-up: values in, violations with JSON Pointers out.

OpenAPI 3.0 has a dialect of its own; `dialect` turns it into JSON Schema 2020-12, which jsonschema-rs compiles.
A value that matches costs one call; the list of violations is made only for one that does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema_rs

from api.problems import MAX_ERRORS, MOST_COUNTED

Violation = tuple[list[str | int], str]  # where, and what

_COMPONENTS = "#/components/schemas/"
# Members of a 3.0 schema that say nothing about validity, or that 2020-12 reads differently.
_IGNORED = {
    "example",
    "discriminator",
    "xml",
    "externalDocs",
    "deprecated",
    "description",
    "title",
    "default",
}
_PART = 64  # of a list's members are looked through together: where all that is in them is wrong, 10 ms


def dialect(schema: Any) -> Any:
    """Translate an OpenAPI 3.0 schema: `nullable`, boolean `exclusiveMinimum` and `exclusiveMaximum`."""
    if isinstance(schema, list):
        return [dialect(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _IGNORED or key.startswith("x-"):
            continue
        if key == "properties":
            out[key] = {name: dialect(member) for name, member in value.items()}
        else:
            out[key] = value if key == "enum" else dialect(value)
    _exclusive(out)
    return _nullable(out)


def _exclusive(out: dict[str, Any]) -> None:
    for flag, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if out.pop(flag, False) is True:
            out[flag] = out.pop(limit)


def _nullable(out: dict[str, Any]) -> dict[str, Any]:
    if not out.pop("nullable", False):
        return out
    if isinstance(out.get("type"), str):
        return {**out, "type": [out["type"], "null"]}
    return {"anyOf": [out, {"type": "null"}]}


class Schema:
    """One compiled schema. Submitted values never appear in its messages."""

    __slots__ = ("_components", "_frames", "_schema", "_validator", "is_valid")

    def __init__(self, schema: Mapping[str, Any], components: Mapping[str, Any]) -> None:
        root = dialect(dict(schema))
        # Only what is referred to: with all of the contract in each of its schemas, a door was 80 MB heavier.
        if needed := reached(root, components):
            root = {**root, "components": {"schemas": needed}}
        self._validator = jsonschema_rs.Draft202012Validator(
            root, validate_formats=True, offline=True, mask="the value"
        )
        self.is_valid = self._validator.is_valid
        self._schema, self._components = resolved(schema, components), components
        self._frames: dict[str, Schema] = {}

    def violations(self, value: Any) -> tuple[list[dict[str, str]], int]:
        """List the first 20 violations as `{pointer, detail}`, and count them, but not beyond MOST_COUNTED and one."""
        found: list[dict[str, str]] = []
        total = 0
        for path, detail in self._violations(value):
            total += 1
            if len(found) < MAX_ERRORS:
                found.append({"pointer": pointer(path), "detail": detail})
            if total > MOST_COUNTED:
                break
        return found, total

    def _violations(self, value: Any) -> Iterator[Violation]:
        """Go through a long list part by part: a validator makes all errors there are before it gives the first."""
        name = self._longest(value)
        if name is None:
            yield from _each(self._validator.iter_errors(value))
            return
        yield from _each(self._frame(name)._validator.iter_errors(value))
        members = value[name]
        for start in range(0, len(members), _PART):
            part = {name: members[start : start + _PART]}
            for path, detail in _each(self._validator.iter_errors(part)):
                # What else is wrong with a part is so because the rest is missing in it.
                if len(path) > 1 and path[0] == name:
                    yield [name, int(path[1]) + start, *path[2:]], detail

    def _longest(self, value: Any) -> str | None:
        """Name the longest list of an object, if it is too long for one look and the schema says what is in it."""
        if type(value) is not dict:
            return None
        said = self._schema.get("properties", {})
        lists = [each for each, list_ in value.items() if each in said and type(list_) is list]
        longest = max(lists, key=lambda each: len(value[each]), default=None)
        if longest is None or len(value[longest]) <= _PART:
            return None
        return longest if "items" in resolved(said[longest], self._components) else None

    def _frame(self, name: str) -> Schema:
        """Return the same schema without what it says of the members of this list."""
        if name not in self._frames:
            properties = dict(self._schema["properties"])
            listed = resolved(properties[name], self._components)
            properties[name] = {each: said for each, said in listed.items() if each != "items"}
            self._frames[name] = Schema({**self._schema, "properties": properties}, self._components)
        return self._frames[name]


def reached(root: Any, components: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the components that a schema refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    waiting = list(_names(root))
    while waiting:
        name = waiting.pop()
        if name in components and name not in found:
            found[name] = dialect(components[name])
            waiting += _names(found[name])
    return found


def resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the component that a schema refers to, or the schema itself."""
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = components[schema["$ref"].removeprefix(_COMPONENTS)]
    return found


def _names(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _names(each)
    elif isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_COMPONENTS)
        for each in schema.values():
            yield from _names(each)


def _each(errors: Iterator[Any]) -> Iterator[Violation]:
    for error in errors:
        path, kind = list(error.instance_path), error.kind
        if kind.name == "required":
            yield [*path, kind.as_dict()["property"]], "is required"
        elif kind.name == "additionalProperties":
            for name in kind.as_dict()["unexpected"]:
                yield [*path, name], "is not known here"
        elif kind.name in ("oneOf", "anyOf"):
            yield path, "is none of the forms the contract allows"
        elif kind.name == "not":
            yield path, "has members that exclude each other"
        else:
            yield path, error.message.removeprefix("the value ")


def pointer(path: Sequence[str | int]) -> str:
    """Write a path as a JSON Pointer (RFC 6901); a name a stranger made up is cut after 60 characters."""
    return "".join("/" + str(part)[:60].replace("~", "~0").replace("/", "~1") for part in path)
