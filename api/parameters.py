"""Path and query parameters, compiled from the contract: strict texts to typed values, every culprit named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from api.problems import RequestRefused, validation
from api.schemas import Schema

MAX_QUERY_FIELDS = 50
# Python's int() and float() also take underscores, blanks, Arabic digits, `nan`: none of them is JSON's.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter with its compiled schema."""

    name: str
    place: str
    kind: str
    schema: Schema
    is_required: bool

    def read(self, text: str) -> Any:
        """Turn the text into the declared type.

        Raises:
            ValueError: with what is wrong, never with the text.
        """
        value = _READERS[self.kind](text)
        violations, _ = self.schema.violations(value)
        if violations:
            raise ValueError(violations[0]["detail"])
        return value


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text) or abs(number := float(text)) == float("inf"):
        raise ValueError("is not a finite number")
    return number


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


_READERS: Mapping[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "string": str,
}


class Parameters:
    """All parameters of one operation."""

    def __init__(self, declared: Sequence[Mapping[str, Any]], components: Mapping[str, Any]) -> None:
        read = [_parameter(each, components) for each in declared]
        self._path = [each for each in read if each.place == "path"]
        self._query = {each.name: each for each in read if each.place == "query"}
        self._headers = {each.name.lower(): each for each in read if each.place == "header"}
        self._required = [name for name, each in self._query.items() if each.is_required]

    def read(self, path: Mapping[str, str], query: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the path's and the query's parameters.

        Raises:
            RequestRefused: `validation`, naming every wrong, unknown or repeated one.
        """
        if not query and not self._path and not self._required:
            return {}, {}
        errors: list[dict[str, str]] = []
        in_path: dict[str, Any] = {}
        for parameter in self._path:
            _take(parameter, path[parameter.name], in_path, errors)
        in_query = self._read_query(query, errors) if query or self._required else {}
        if errors:
            raise validation(errors)
        return in_path, in_query

    def check(self, headers: Mapping[str, str]) -> None:
        """Hold the headers that are declared against the contract; handlers read them as they came.

        Raises:
            RequestRefused: `validation`, naming every wrong one.
        """
        errors: list[dict[str, str]] = []
        for name, parameter in self._headers.items():
            if name in headers:
                _take(parameter, headers[name], {}, errors)
        if errors:
            raise validation(errors)

    def _read_query(self, query: bytes, errors: list[dict[str, str]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        seen: set[str] = set()
        for name, text in _pairs(query) if query else ():
            parameter = self._query.get(name)
            if parameter is None:
                errors.append({"parameter": name[:60], "detail": "is not known here"})
            elif name in seen:
                errors.append({"parameter": name, "detail": "is given more than once"})
            else:
                _take(parameter, text, found, errors)
            seen.add(name)
        errors += [
            {"parameter": name, "detail": "is required"} for name in self._required if name not in seen
        ]
        return found


def _take(parameter: Parameter, text: str, into: dict[str, Any], errors: list[dict[str, str]]) -> None:
    try:
        into[parameter.name] = parameter.read(text)
    except ValueError as wrong:
        errors.append({"parameter": parameter.name, "detail": str(wrong)})


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except ValueError as wrong:
        raise RequestRefused("bad-request", "the query string is not a list of name=value pairs") from wrong


def _parameter(declared: Mapping[str, Any], components: Mapping[str, Any]) -> Parameter:
    schema = declared["schema"]
    while "$ref" in schema:
        schema = components[schema["$ref"].rsplit("/", 1)[1]]
    compiled = Schema(schema, components)
    return Parameter(
        declared["name"], declared["in"], schema["type"], compiled, declared.get("required", False)
    )
