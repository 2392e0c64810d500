"""What a form asks: one field for each feature of a model's contract, with what a person needs to answer it.

The contract describes; `x-label`, `x-group`, `x-words` and `x-from` of a feature only say how people are asked, and no
caller sees them. A feature without them is asked by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.composition import ModelContract
from api.pages.locales import words

NOT_KNOWN = "(not known)"
REFERENCE = "reference"
REFERENCE_CHARACTERS = 200
FEW = 5  # choices that fit side by side; more are a list to open
_YES_NO = {"yes": "Yes", "no": "No"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several answers: what is sent, what is read, and what the model is given."""

    value: str
    words: str
    means: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing that is asked. `kind` is whole, number, choice, date or text."""

    name: str
    kind: str
    label: str
    hint: str = ""
    group: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    longest: int | None = None
    pattern: str | None = None
    choices: tuple[Choice, ...] = ()
    example: Any = None
    is_optional: bool = False

    @property
    def is_short(self) -> bool:
        """Say whether all choices are shown at once."""
        return len(self.choices) <= FEW

    @property
    def called(self) -> str:
        """Name it in the middle of a sentence."""
        return self.label if self.label[1:2].isupper() or self.label[1:2].isdigit() else _lower(self.label)

    def text(self, value: Any) -> str:
        """Write a value of the contract as it is entered."""
        if self.kind == "choice":
            return next((each.value for each in self.choices if each.means == value), str(value))
        return "" if value is None else str(value)

    def words(self, value: Any) -> str | None:
        """Say a value of the contract in words, None where there are none for it."""
        return next((each.words for each in self.choices if each.means == value), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """A feature that nobody is asked: its number is the place of another one's answer in that one's list."""

    name: str
    label: str
    source: str
    numbers: Mapping[Any, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """All that is asked for one instance of a model, in the order in which it is asked."""

    model: str
    fields: tuple[Field, ...]
    follows: tuple[Follows, ...]

    @property
    def groups(self) -> list[tuple[str, list[Field]]]:
        """Put together what belongs together, groups and fields in the order of the contract."""
        found: dict[str, list[Field]] = {}
        for each in self.fields:
            found.setdefault(each.group, []).append(each)
        return list(found.items())

    @property
    def steps(self) -> list[Field]:
        """List what is asked step by step: everything that has to be answered."""
        return [each for each in self.fields if each.name != REFERENCE]

    @property
    def labels(self) -> dict[str, str]:
        """Say what each feature is called, those that nobody is asked, too."""
        follows = {each.name: each.label for each in self.follows}
        return follows | {each.name: each.label for each in self.fields}

    def entries(self, instance: Mapping[str, Any]) -> dict[str, str]:
        """Write an instance as it would be entered."""
        return {each.name: each.text(instance[each.name]) for each in self.fields if each.name in instance}


def form_of(model: ModelContract) -> Form:
    """Make the form of a model."""
    asked, follows = [], []
    for name, schema in model.features.items():
        if "x-from" in schema:
            follows.append(_follows(name, schema, model.features[schema["x-from"]]))
        else:
            asked.append(_field(name, schema))
    reference = Field(
        name=REFERENCE,
        kind="text",
        label="Your reference",
        hint="Optional: a number or name of your own, to find the answer by. Not a person's name, if you can help it.",
        group="For your files" if any(each.group for each in asked) else "",
        longest=REFERENCE_CHARACTERS,
        is_optional=True,
    )
    groups = list(dict.fromkeys(each.group for each in asked))
    asked.sort(key=lambda each: groups.index(each.group))
    return Form(model=model.model, fields=(*asked, reference), follows=tuple(follows))


def _field(name: str, schema: Mapping[str, Any]) -> Field:
    main = _main(schema)
    kind = _kind(main)
    is_nullable = bool(schema.get("nullable"))
    hint = str(schema.get("x-hint", schema["description"])).strip()
    if is_nullable and kind != "choice":
        hint = f"{hint} Leave it empty if it is not known."
    return Field(
        name=name,
        kind=kind,
        label=schema.get("x-label", words(name)),
        hint=hint,
        group=schema.get("x-group", ""),
        unit=schema.get("x-unit", ""),
        low=main.get("minimum"),
        high=main.get("maximum"),
        longest=main.get("maxLength"),
        pattern=main.get("pattern"),
        choices=_choices(main, schema) if kind == "choice" else (),
        example=schema.get("example"),
        is_optional=is_nullable and kind != "choice",
    )


def _main(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema itself, or of several the one for numbers: text that holds a number is for programs."""
    several = schema.get("oneOf") or schema.get("anyOf") or [schema]
    numbers = [each for each in several if each.get("type") in ("number", "integer")]
    found: Mapping[str, Any] = (numbers or several)[0]
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or schema.get("type") == "boolean":
        return "choice"
    if schema.get("format") == "date":
        return "date"
    return {"integer": "whole", "number": "number"}.get(schema.get("type", ""), "text")


def _choices(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Choice, ...]:
    if schema.get("type") == "boolean":
        known = [
            Choice(value="true", words="Yes", means=True),
            Choice(value="false", words="No", means=False),
        ]
    else:
        said = {**_YES_NO, **whole.get("x-words", {})}
        known = [
            Choice(value=str(each), words=str(said.get(each, each)), means=each)
            for each in schema["enum"]
            if each is not None
        ]
        if {each.value for each in known} == set(_YES_NO):
            known.sort(key=lambda each: each.value, reverse=True)
    if whole.get("nullable"):
        known.append(Choice(value=NOT_KNOWN, words="Not known", means=None))
    return tuple(known)


def _follows(name: str, schema: Mapping[str, Any], source: Mapping[str, Any]) -> Follows:
    first = int(schema.get("minimum", 1))
    return Follows(
        name=name,
        label=schema.get("x-label", words(name)),
        source=schema["x-from"],
        numbers={each: first + place for place, each in enumerate(source["enum"])},
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
