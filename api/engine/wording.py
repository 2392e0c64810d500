"""The words of answers: from what a model said to the exact bytes of a body, in a prediction and in its replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from api import problems

# From here on a body is written by columns. For one instance it would take longer, for ten thousand it takes a third.
MANY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A problem that goes on record, before it has a record's id."""

    slug: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()

    @property
    def status(self) -> int:
        """Say the status the table gives this problem."""
        return problems.PROBLEMS[self.slug].status

    def body(self, record: str) -> bytes:
        """Write it for one record."""
        return problems.body(self.slug, self.detail, errors=self.errors, record=record)


# The door has held the body against the contract, so this is a door of another contract.
MALFORMED = Trouble(slug="validation", detail="the engine expects an object with a list `instances`")


def invalid(version: str, culprits: Sequence[Mapping[str, str]], total: int) -> Trouble:
    """Word that the model cannot take the values it was given."""
    count = f"{total} value{'s' if total != 1 else ''}"
    detail = f"{count} cannot be taken by version {version}"
    return Trouble(slug="invalid-features", detail=detail, errors=culprits)


def failed(version: str) -> Trouble:
    """Word that the model raised an error, or gave no answer that may be given."""
    return Trouble(slug="prediction-failed", detail=f"version {version} gave no answer")


def prediction(
    name: str, reference: str | None, answer: Mapping[str, Any], warnings: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Word the answer to one instance; `warnings` are (feature, detail)."""
    one = {"id": name, **answer} if reference is None else {"id": name, "reference": reference, **answer}
    return {**one, "warnings": _told(warnings)}


def predictions(record: str, model: str, version: str, shown: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the body of a 201: the bytes that are recorded, and proved by the receipt."""
    return orjson.dumps({"record": record, "model": model, "version": version, "predictions": shown})


def many(
    name: tuple[str, str, str],
    references: Sequence[str | None],
    members: Mapping[str, Sequence[Any]],
    warnings: Iterable[Sequence[tuple[str, str]]],
) -> bytes:
    """Write the very bytes of `predictions`, by columns: one template, filled in for each instance.

    `name` is record, model and version; `members` are the parts of the answers, each with a value for every instance.
    """
    record, model, version = name
    parts = "".join(f",{_text(part)}:%s" for part in (each.replace("%", "%%") for each in members))
    one = f'{{"id":"{record}.%d"%s{parts},"warnings":%s}}'
    columns = map(_texts, members.values())
    told = ["" if each is None else f',"reference":{_text(each)}' for each in references]
    warned = [_text(_told(each)) if each else "[]" for each in warnings]
    lines = map(one.__mod__, zip(range(len(told)), told, *columns, warned, strict=True))
    begun = orjson.dumps({"record": record, "model": model, "version": version})[:-1]
    return b"".join((begun, b',"predictions":[', ",".join(lines).encode(), b"]}"))


def _told(warnings: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"feature": feature, "detail": detail} for feature, detail in warnings]


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _texts(column: Sequence[Any]) -> Iterable[str]:
    """Write every value of a column: numbers all at once, for no number has a comma in it; labels once each."""
    if isinstance(column[0], float):
        return orjson.dumps(column)[1:-1].decode().split(",")
    if isinstance(column[0], str):
        written = {each: _text(each) for each in set(column)}
        return map(written.__getitem__, column)
    return map(_text, column)
