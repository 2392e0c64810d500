"""What may be recorded of a report, row by row: is there such a prediction, can that have happened, is it news?

A row that may not says why and leaves the others alone. Unknown and another client's are told in the same words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api import times
from api.composition import ModelContract
from db.outcomes import Known, Outcomes, Subject

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNKNOWN = "there is no such prediction, or it is another client's"


class NotPossible(Exception):
    """It cannot have happened, or not then; `reason` is a word of the contract."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One outcome that may be recorded: a label in the model's own spelling, or a number."""

    subject: Subject
    value: str | float
    observed_at_us: int | None

    @property
    def is_known(self) -> bool:
        """Say whether the newest record says just this."""
        known: Known | None = self.subject.known
        if known is None or known.shown != self.value:
            return False
        return self.observed_at_us in (None, known.observed_at_us)

    def told(self) -> dict[str, Any]:
        """Write it for the engine."""
        subject = self.subject
        about = {"prediction": subject.id, "idx": subject.idx, "position": subject.position}
        about |= {"model": subject.model, "version": subject.version, "value": self.value}
        return about if self.observed_at_us is None else about | {"observed_at_us": self.observed_at_us}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Knows what each model can answer, and whose predictions are looked for; `now_us` is when the report came."""

    models: Mapping[str, ModelContract]
    outcomes: Outcomes
    client_id: str | None
    now_us: int

    def judge(self, subject: Subject, row: Mapping[str, Any]) -> Reported:
        """Look at one row about this prediction.

        Raises:
            NotPossible: it cannot be what happened.
        """
        value = possible(self.models.get(subject.model), row["value"])
        observed_at_us = times.read_us(row["observed_at"]) if "observed_at" in row else None
        if observed_at_us is not None:
            if observed_at_us < subject.predicted_at_us:
                raise NotPossible("observed-too-early", "observed_at is before the prediction was made")
            if observed_at_us > self.now_us:
                raise NotPossible("observed-in-future", "observed_at is in the future")
        return Reported(subject=subject, value=value, observed_at_us=observed_at_us)

    def all(self, rows: Sequence[Mapping[str, Any]]) -> list[Reported | NotPossible]:
        """Look at every row; the first about a prediction counts, those that come after it are refused."""
        found = self._found(rows)
        first: dict[str, int] = {}
        judged: list[Reported | NotPossible] = []
        for number, (row, subject) in enumerate(zip(rows, found, strict=True)):
            try:
                judged.append(self._row(number, row, subject, first))
            except NotPossible as refused:
                judged.append(refused)
        return judged

    def _row(
        self, number: int, row: Mapping[str, Any], subject: Subject | int | None, first: dict[str, int]
    ) -> Reported:
        if subject is None:
            raise NotPossible("unknown-prediction", _UNKNOWN)
        if isinstance(subject, int):
            raise NotPossible(
                "ambiguous-reference", f"{subject} predictions have this reference; name one by its id"
            )
        if (before := first.setdefault(subject.id, number)) != number:
            raise NotPossible("duplicate", f"row {before} is about the same prediction")
        return self.judge(subject, row)

    def _found(self, rows: Sequence[Mapping[str, Any]]) -> list[Subject | int | None]:
        by_id = self.outcomes.by_id((_named(row) for row in rows if "prediction" in row), self.client_id)
        references: dict[str, list[str]] = {}
        for row in rows:
            if "prediction" not in row:
                references.setdefault(row["model"], []).append(row["reference"])
        by_reference = {
            model: self.outcomes.by_reference(model, theirs, self.client_id)
            for model, theirs in references.items()
            if model in self.models
        }
        return [
            by_id.get(_named(row))
            if "prediction" in row
            else by_reference.get(row["model"], {}).get(row["reference"])
            for row in rows
        ]


def possible(model: ModelContract | None, value: str | float) -> str | float:
    """Spell an outcome as the model would have answered it.

    Raises:
        NotPossible: the model could not have.
    """
    if model is None:
        raise NotPossible("impossible-value", "the contract no longer says what this model can answer")
    output = model.output
    if output["kind"] == "classifier":
        label = value if isinstance(value, str) else _digits(value)
        if label not in output["labels"]:
            raise NotPossible("impossible-value", f"the labels of this model are {_listed(output['labels'])}")
        return label
    number = _number(value)
    if number is None:
        raise NotPossible("impossible-value", "the outcome of this model is a finite number")
    return number


def _number(value: str | float) -> float | None:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _digits(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(f"“{each}”" for each in labels)


def _named(row: Mapping[str, Any]) -> tuple[UUID, int]:
    record, _, position = row["prediction"].partition(".")
    return UUID(record), int(position)
