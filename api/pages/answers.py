"""An answer at its own address, read from the record: what was said, how sure, beside the training data, with proof."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, abort, render_template

from api.composition import ModelContract
from api.contract import Contract
from api.pages import insights, reasons, versions
from api.pages.access import Access, Visitor
from api.pages.calling import Answered, ApiRefused, Question
from api.pages.fields import Field, Form, form_of
from api.pages.insights import Insight
from api.pages.locales import words

PARTS = ("request", "answer", "receipt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was entered, and where it lies in the training data."""

    name: str
    label: str
    value: Any
    spoken: str | None
    unit: str
    insight: Insight | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The probability of one label."""

    label: str
    share: float
    is_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The pages that show answers."""

    contracts: Mapping[str, ModelContract]
    forms: Mapping[str, Form]
    access: Access

    def prediction(self, model: str, name: str) -> str:
        """Show one prediction."""
        visitor, found = self._find(model, name)
        version = versions.version(visitor, model, found["version"])
        form, instance = self.forms[model], found["instance"]
        profiles = {} if version is None else version.profiles
        return render_template(
            "prediction.html",
            contract=self.contracts[model],
            found=found,
            output=self.contracts[model].output,
            shares=shares(self.contracts[model].output, found["prediction"]),
            lines=[_line(form, profiles, *each) for each in instance.items() if each[0] != "reference"],
            reasons=reasons.of(form, self.contracts[model].output, found["prediction"]),
            again=form.entries(instance),
            version=version,
            labels=form.labels,
        )

    def receipt(self, model: str, name: str) -> str:
        """Show the proof that the prediction is on record, and the bytes it is about."""
        visitor, found = self._find(model, name)
        kept = _ask(visitor, f"/v1/records/{found['record']}").content
        try:
            proof = _ask(visitor, f"/v1/records/{found['record']}/receipt").content
        except ApiRefused as refused:
            if refused.status != 404:
                raise
            proof = None  # the checkpoint of the last second is not signed yet
        shown = {each: _bytes(kept, each).decode("utf-8", "replace") for each in PARTS[:2]}
        return render_template(
            "receipt.html", contract=self.contracts[model], found=found, kept=kept, proof=proof, **shown
        )

    def part(self, model: str, name: str, part: str) -> Response:
        """Give the exact bytes of request or answer, or the receipt, as a file to keep."""
        if part not in PARTS:
            abort(404)
        visitor, found = self._find(model, name)
        path = f"/v1/records/{found['record']}"
        if part == "receipt":
            content = _ask(visitor, f"{path}/receipt").raw
        else:
            content = _bytes(_ask(visitor, path).content, part)
        headers = {"Content-Disposition": f'attachment; filename="{part}-{found["record"]}.json"'}
        return Response(content, content_type="application/json", headers=headers)

    def _find(self, model: str, name: str) -> tuple[Visitor, dict[str, Any]]:
        if model not in self.contracts:
            abort(404)
        visitor = self.access.visitor(model)
        found = _ask(visitor, f"/v1/predictions/{name}").content
        if found["model"] != model:
            abort(404)
        return visitor, found


def create_answers(contract: Contract, access: Access) -> Blueprint:
    """Build the pages of answers."""
    blueprint = Blueprint("answers", __name__, url_prefix="/models")
    forms = {name: form_of(each) for name, each in contract.models.items()}
    answers = Answers(contracts=contract.models, forms=forms, access=access)
    blueprint.add_url_rule("/<model>/predictions/<name>", "prediction", answers.prediction)
    blueprint.add_url_rule("/<model>/predictions/<name>/receipt", "receipt", answers.receipt)
    blueprint.add_url_rule("/<model>/predictions/<name>/<part>.json", "part", answers.part)
    return blueprint


def shares(output: Mapping[str, Any], prediction: Mapping[str, Any]) -> list[Share]:
    """List the probabilities of all labels, the most probable first; none where a number is answered."""
    if "probabilities" in prediction:
        found = dict(prediction["probabilities"])
    elif "probability" in prediction:
        other = next(each for each in output["labels"] if each != output["positive"])
        probability = prediction["probability"]
        found = {output["positive"]: probability, other: 1 - probability}
    else:
        return []
    order = sorted(found.items(), key=lambda each: (-each[1], each[0] != prediction["label"]))
    return [Share(label=name, share=each, is_answer=name == prediction["label"]) for name, each in order]


def _line(form: Form, profiles: Mapping[str, Mapping[str, Any]], name: str, value: Any) -> Line:
    field = next((each for each in form.fields if each.name == name), None)
    return Line(
        name=name,
        label=form.labels.get(name, words(name)),
        value=_number(field, value),
        spoken=None if field is None else field.words(value),
        unit="" if field is None else field.unit,
        insight=insights.of(profiles[name], value) if name in profiles else None,
    )


def _number(field: Field | None, value: Any) -> Any:
    """Read text that holds a number as one, to be shown as the reader writes numbers."""
    if field is None or field.kind not in ("number", "whole") or not isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else value


def _ask(visitor: Visitor, path: str) -> Answered:
    return visitor.ask(Question(method="GET", path=path))


def _bytes(record: Mapping[str, Any], part: str) -> bytes:
    return base64.b64decode(record[{"request": "input", "answer": "output"}[part]])
