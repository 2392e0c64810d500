"""What a person enters becomes a typed value of the contract, or is named with what would be right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from api.composition import ModelContract
from api.pages import entering, insights, locales, models, quality
from api.pages.access import Visitor
from api.pages.calling import Answered, ApiRefused, Question
from api.pages.fields import form_of

FEATURES: dict[str, Any] = {
    "years": {"type": "integer", "description": "A", "minimum": 14, "maximum": 120, "x-unit": "years", "example": 39},
    "size": {"type": "number", "description": "Size.", "minimum": 0, "example": 1.5},
    "any": {"oneOf": [{"type": "number"}, {"type": "string"}], "description": "Any number."},
    "owner": {"type": "boolean", "description": "Whether it is owned."},
    "phone": {"type": "string", "enum": ["no", "yes"], "description": "Whether there is one."},
    "level": {"type": "string", "enum": ["low", "high", None], "nullable": True, "description": "Level."},
    "place": {"type": "integer", "minimum": 1, "description": "The level as a number.", "x-from": "grade"},
    "grade": {"type": "string", "enum": ["a", "b", "c"], "description": "Grade."},
    "day": {"type": "string", "format": "date", "description": "Day."},
    "note": {"type": "string", "maxLength": 5, "pattern": "^[a-z]*$", "description": "Note."},
    "maybe": {"type": "number", "nullable": True, "description": "Perhaps a number."},
}  # fmt: skip
RIGHT = {
    "years": " 39 ",
    "size": "1.5e2",
    "any": "-.5",
    "owner": "false",
    "phone": "yes",
    "level": "(not known)",
    "grade": "b",
    "day": "2026-03-27",
    "note": "abc",
    "maybe": "",
}
CONTRACT = ModelContract(model="m", title="M", description="M.", features=FEATURES, output={}, examples=())
FORM = form_of(CONTRACT)


def test_every_kind_of_entry_becomes_its_value() -> None:
    """Numbers, choices, yes and no, what is not known, a day, a text, and what follows from another answer."""
    entered = entering.read(FORM, RIGHT)

    assert entered.errors == {}
    assert entered.instance == {
        "years": 39,
        "size": 150.0,
        "any": -0.5,
        "owner": False,
        "phone": "yes",
        "level": None,
        "grade": "b",
        "place": 2,
        "day": "2026-03-27",
        "note": "abc",
        "maybe": None,
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("years", "", "Enter years"),
        ("years", "39.5", "Years must be a whole number, such as 39"),
        ("years", "1_0", "Years must be a whole number, such as 39"),
        ("years", "٣٩", "Years must be a whole number, such as 39"),
        ("years", "13", "Years must be between 14 and 120 years"),
        ("size", "1,5", "Size must be a number, with a point before its decimals, such as 1.5"),
        ("size", "nan", "Size must be a number, with a point before its decimals, such as 1.5"),
        ("size", "-1", "Size must be 0 or more"),
        ("any", "1e999", "Any must be a smaller number"),
        ("owner", "", "Choose owner"),
        ("owner", "maybe", "Choose one of the answers to owner"),
        ("phone", "true", "Choose one of the answers to phone"),
        ("level", "", "Choose level"),
        ("grade", "d", "Choose one of the answers to grade"),
        ("day", "2026-02-30", "Day must be a day of the calendar, such as 2026-03-27"),
        ("note", "abcdef", "Note must have 5 characters or fewer"),
        ("note", "ABC", "Note has a character that cannot be taken"),
        ("maybe", "x", "Maybe must be a number, with a point before its decimals"),
    ],
)
def test_what_is_wrong_is_named(name: str, text: str, said: str) -> None:
    """Each wrong entry says what would be right; the others are not blamed."""
    assert entering.read(FORM, {**RIGHT, name: text}).errors == {name: said}


def test_an_instance_is_entered_as_it_was_read() -> None:
    """What is written back into the form is read to the same instance."""
    instance = entering.read(FORM, RIGHT).instance

    assert entering.read(FORM, FORM.entries(instance)).instance == instance


def test_a_full_bin_is_not_guessed_into() -> None:
    """Where most rows lie in one bin, the picture's text says so, and not how many of them are lower."""
    spread = {"histogram": {"edges": [0.0, 10.0, 20.0, 30.0], "counts": [90, 5, 5]}}

    assert insights.of(spread, 5).text == "between 0 and 10, like 90\u00a0% of the training data"  # type: ignore[union-attr]  # there is one
    assert insights.of(spread, 15).text == "higher than about 92 % of the training data"  # type: ignore[union-attr]  # there is one
    assert insights.of(spread, 31).text == "higher than all training data"  # type: ignore[union-attr]  # there is one


def test_a_version_that_cannot_say_why_is_asked_without() -> None:
    """Where only the wish for reasons was refused, the same instance is asked once more without it."""
    asked: list[dict[str, Any]] = []

    def ask(question: Question) -> Answered:
        asked.append(json.loads(question.body))
        if "explain" in asked[-1]:
            content = {"errors": [{"pointer": "/explain", "detail": "cannot"}]}
            raise ApiRefused(Answered(status=422, raw=b"", headers={}, content=content))
        return Answered(status=201, raw=b"", headers={}, content={})

    visitor = Visitor(ask=ask, scopes=frozenset())
    models._predicted(models.Asked(contract=CONTRACT, form=FORM, visitor=visitor), {"years": 39}, "once")

    assert asked == [{"instances": [{"years": 39}], "explain": True}, {"instances": [{"years": 39}]}]


def test_what_moved_is_drawn_in_the_words_of_the_form() -> None:
    """A plot that needs no style of its own shows each feature by its label; of too few predictions there is none."""
    thresholds = {"minimum_n": 200, "psi_watch": 0.1, "psi_drifted": 0.25}
    moved = {"name": "years", "psi": 0.3, "verdict": "drifted"}
    found = {"n": 200, "thresholds": thresholds, "features": [moved], "output": {**moved, "name": "m<b>"}}

    plot = quality.moved(found, FORM.labels).plot

    assert plot is not None and ">Years<" in plot and "<b>" not in plot
    assert "<style" not in plot and "style=" not in plot
    assert quality.moved({**found, "n": 199}, FORM.labels).plot is None


def test_the_second_of_two_clicks_waits_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the same form is being answered, its second sending is asked again until that answer is there."""
    busy = {"type": "/problems/in-flight"}
    answers = [Answered(status=409, raw=b"", headers={}, content=busy)] * 3
    answers.append(Answered(status=201, raw=b"first", headers={}))

    def ask(_question: Question) -> Answered:
        if (answered := answers.pop(0)).status >= 400:
            raise ApiRefused(answered)
        return answered

    monkeypatch.setattr(models, "BUSY_S", 0)
    visitor = Visitor(ask=ask, scopes=frozenset())
    asked = models.Asked(contract=CONTRACT, form=FORM, visitor=visitor)

    assert models._predicted(asked, {"years": 39}, "once").raw == b"first"


def test_points_stand_below_points() -> None:
    """With so many decimals numbers line up; what is not nothing never looks as if it were."""
    with Flask("here").test_request_context():
        written = [locales.fixed(each) for each in (0.75, 0.24001, 1234.5, 0.0, 0.00001, -3.0)]

    assert written == ["0.7500", "0.2400", "1,234.5000", "0.0000", "1e-05", "-3.0000"]
