"""From what a person entered to an instance of the contract, or to what is wrong with it, field by field.

A form is text; marshmallow makes typed values of it. The API judges the instance again by the contract, like anybody's:
what stands here only makes the answer come sooner and in words for people.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from api.pages.fields import Field, Form

# A number as HTML writes it ("valid floating-point number"), and the sign in front that people add.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What was entered: an instance, or errors by field."""

    instance: Mapping[str, Any]
    errors: Mapping[str, str]


def read(form: Form, entries: Mapping[str, str]) -> Entered:
    """Read every field; each that is wrong is named, not only the first."""
    given = {name: text for each in form.fields if (text := entries.get(name := each.name, "").strip())}
    schema = Schema.from_dict({each.name: _of(each) for each in form.fields})
    try:
        instance = schema(unknown=EXCLUDE).load(given)
    except ValidationError as wrong:
        messages: Any = wrong.messages
        return Entered(instance={}, errors={name: str(said[0]) for name, said in messages.items()})
    for each in form.follows:
        instance[each.name] = each.numbers[instance[each.source]]
    return Entered(instance=instance, errors={})


def wrong(form: Form, field: Field, entries: Mapping[str, str]) -> str | None:
    """Say what is wrong with one field."""
    return read(form, entries).errors.get(field.name)


def _of(field: Field) -> fields.Field[Any]:
    about: dict[str, Any] = {"required": not field.is_optional, "validate": []}
    if field.is_optional and field.name != "reference":
        about["load_default"] = None
    verb = "Choose" if field.kind == "choice" else "Enter"
    about["error_messages"] = {"required": f"{verb} {field.called}"}
    match field.kind:
        case "choice":
            return _Choice(field, **about)
        case "whole" | "number":
            return _Number(field, **about)
        case "date":
            return _Date(field, **about)
    if field.longest is not None:
        said = f"{field.label} must have {field.longest} characters or fewer"
        about["validate"].append(validate.Length(max=field.longest, error=said))
    if field.pattern is not None:
        said = f"{field.label} has a character that cannot be taken"
        about["validate"].append(validate.Regexp(re.compile(field.pattern), error=said))
    return fields.String(**about)


def is_day(text: str) -> bool:
    """Say whether a text is a day of the calendar, written as the contract and a browser's own field write it."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class _Choice(fields.Field[Any]):
    def __init__(self, field: Field, **about: Any) -> None:
        super().__init__(**about)
        self._field = field

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        for each in self._field.choices:
            if each.value == value:
                return each.means
        raise ValidationError(f"Choose one of the answers to {self._field.called}")


class _Number(fields.Field[Any]):
    def __init__(self, field: Field, **about: Any) -> None:
        super().__init__(**about)
        self._field = field

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        field = self._field
        is_whole = field.kind == "whole"
        if not (_WHOLE if is_whole else _NUMBER).fullmatch(value):
            what = "a whole number" if is_whole else "a number, with a point before its decimals"
            raise ValidationError(f"{field.label} must be {what}{_such_as(field)}")
        number = int(value) if is_whole else float(value)
        if not math.isfinite(number) or _is_outside(field, number):
            raise ValidationError(f"{field.label} must be {_range(field)}")
        return number


class _Date(fields.Field[Any]):
    def __init__(self, field: Field, **about: Any) -> None:
        super().__init__(**about)
        self._field = field

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not is_day(value):
            raise ValidationError(f"{self._field.label} must be a day of the calendar, such as 2026-03-27")
        return value


def _such_as(field: Field) -> str:
    return f", such as {field.example}" if isinstance(field.example, int | float) else ""


def _is_outside(field: Field, number: float) -> bool:
    return (field.low is not None and number < field.low) or (field.high is not None and number > field.high)


def _range(field: Field) -> str:
    unit = f" {field.unit}" if field.unit else ""
    if field.low is not None and field.high is not None:
        return f"between {field.low:,} and {field.high:,}{unit}"
    if field.low is not None:
        return f"{field.low:,}{unit} or more"
    return "a smaller number" if field.high is None else f"{field.high:,}{unit} or less"
