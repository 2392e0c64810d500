"""The words of answers: from what a model said to the exact bytes of a body, in a prediction and in its replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from api import problems


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
    told = [{"feature": feature, "detail": detail} for feature, detail in warnings] if warnings else []
    return {**one, "warnings": told}


def predictions(record: str, model: str, version: str, shown: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the body of a 201: the bytes that are recorded, and proved by the receipt."""
    return orjson.dumps({"record": record, "model": model, "version": version, "predictions": shown})
