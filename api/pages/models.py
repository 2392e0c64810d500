"""The form of a model: asked on one page, or one thing a step; what was entered becomes a prediction on record."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.exceptions import Forbidden

from api.composition import ModelContract
from api.contract import Contract
from api.pages import entering, versions
from api.pages.access import Access, Visitor
from api.pages.calling import Answered, ApiRefused, Question
from api.pages.fields import Field, Form, form_of

# To predict, and to read what was predicted on the page behind it.
NEEDED = ("predict", "predictions:read")
ONCE = "once"
PATIENCE, BUSY_S = 40, 0.1  # a little less than half of what a prediction may take
Shown = str | tuple[str, int] | Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model with its form, and who looks at it."""

    contract: ModelContract
    form: Form
    visitor: Visitor
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The pages that ask."""

    contracts: Mapping[str, ModelContract]
    forms: Mapping[str, Form]
    access: Access

    def form(self, model: str) -> Shown:
        """Show the form, filled in as the address says, or the first page of its steps."""
        asked = self._asked(model)
        entries = self._entries(asked)
        if asked.contract.form == "steps" and not request.args:
            return self._page("steps.html", asked, {})
        return self._page("form.html", asked, entries)

    def predict(self, model: str) -> Shown:
        """Have what was entered predicted and put on record, and lead to the answer's own address."""
        asked = self._asked(model)
        _check_scopes(asked.visitor)
        entries = {name: text for name, text in request.form.items() if name != "csrf_token"}
        entered = entering.read(asked.form, entries)
        if entered.errors:
            return self._wrong(asked, entries, entered.errors)
        self.access.count(asked.visitor, model)
        try:
            answered = _predicted(asked, entered.instance, entries.get(ONCE, ""))
        except ApiRefused as refused:
            if refused.status not in (400, 422) or not refused.errors:
                raise
            return self._wrong(asked, entries, _by_field(asked.form, refused))
        name = answered.content["predictions"][0]["id"]
        return _to(url_for("answers.prediction", model=model, name=name))

    def step(self, model: str, step: int) -> Shown:
        """Show one step, or go on from it where what was entered is right; back always works."""
        asked = self._asked(model)
        steps = asked.form.steps
        if not 1 <= step <= len(steps):
            abort(404)
        entries = self._entries(asked)
        if request.args.get("go") == "back":
            return _to(_place(model, step - 1, entries))
        if "go" in request.args:
            if (said := entering.wrong(asked.form, steps[step - 1], entries)) is None:
                is_last = step == len(steps) or request.args["go"] == "check"
                return _to(_place(model, 0 if is_last else step + 1, entries, is_check=is_last))
            return self._step(asked, step, entries, said), 400
        return self._step(asked, step, entries, "")

    def check(self, model: str) -> Shown:
        """Show everything that was entered, before it is sent; what is missing is asked first."""
        asked = self._asked(model)
        entries = self._entries(asked)
        wrong = entering.read(asked.form, entries).errors
        for number, each in enumerate(asked.form.steps, 1):
            if each.name in wrong:
                return _to(_place(model, number, entries))
        return self._page("check.html", asked, entries)

    def _asked(self, model: str) -> Asked:
        if model not in self.contracts:
            abort(404)
        return Asked(
            contract=self.contracts[model], form=self.forms[model], visitor=self.access.visitor(model)
        )

    def _entries(self, asked: Asked) -> dict[str, str]:
        """Take what the address says: single fields, or the number of an example of the contract."""
        example = request.args.get("example", "")
        if example.isascii() and example.isdigit():
            instances = [each for one in asked.contract.examples for each in one["instances"]]
            if int(example) < len(instances):
                return asked.form.entries(instances[int(example)])
        names = {each.name for each in asked.form.fields}
        return {name: text for name, text in request.args.items() if name in names}

    def _wrong(self, asked: Asked, entries: Mapping[str, str], errors: Mapping[str, str]) -> Shown:
        asked = Asked(contract=asked.contract, form=asked.form, visitor=asked.visitor, errors=errors)
        return self._page("form.html", asked, entries), 422

    def _step(self, asked: Asked, step: int, entries: Mapping[str, str], said: str) -> str:
        one: Field = asked.form.steps[step - 1]
        others = {name: text for name, text in entries.items() if name != one.name}
        more = {"step": step, "one": one, "others": others, "said": said}
        return self._page("step.html", asked, entries, **more)

    def _page(self, template: str, asked: Asked, entries: Mapping[str, str], **more: Any) -> str:
        version = versions.champion(asked.visitor, asked.contract.model)
        return render_template(
            template,
            asked=asked,
            contract=asked.contract,
            form=asked.form,
            labels=asked.form.labels,
            entries=entries,
            errors=asked.errors,
            version=version,
            profiles={} if version is None else version.profiles,
            once=entries.get(ONCE) or secrets.token_urlsafe(16),
            examples=_examples(asked.contract),
            may_predict=set(NEEDED) <= asked.visitor.scopes,
            query=urlencode({name: text for name, text in entries.items() if text}),
            **more,
        )


def create_models(contract: Contract, access: Access) -> Blueprint:
    """Build the forms of these models."""
    blueprint = Blueprint("models", __name__, url_prefix="/models")
    forms = {name: form_of(each) for name, each in contract.models.items()}
    models = Models(contracts=contract.models, forms=forms, access=access)
    blueprint.add_url_rule("/<model>", "form", models.form)
    blueprint.add_url_rule("/<model>", "predict", models.predict, methods=["POST"])
    blueprint.add_url_rule("/<model>/steps/<int:step>", "step", models.step)
    blueprint.add_url_rule("/<model>/check", "check", models.check)
    return blueprint


def _check_scopes(visitor: Visitor) -> None:
    if missing := set(NEEDED) - visitor.scopes:
        raise Forbidden(f"To ask a model here, a client needs the scopes {' and '.join(sorted(missing))}.")


def _predicted(asked: Asked, instance: Mapping[str, Any], once: str) -> Answered:
    """Ask the API; the same form with the same entries, sent twice, is one record."""
    try:
        return _asked_once(asked, {"instances": [instance], "explain": True}, once)
    except ApiRefused as refused:
        if [each.get("pointer") for each in refused.errors] != ["/explain"]:
            raise
    return _asked_once(asked, {"instances": [instance]}, once)  # this version cannot say why


def _asked_once(asked: Asked, content: Mapping[str, Any], once: str) -> Answered:
    body = orjson.dumps(content)
    key = hashlib.sha256(once.encode() + b"\n" + body).hexdigest()
    question = Question(
        method="POST",
        path=f"/v1/models/{asked.contract.model}/predictions",
        body=body,
        headers={"Content-Type": "application/json", "Idempotency-Key": key},
    )
    for _ in range(PATIENCE):
        try:
            return asked.visitor.ask(question)
        except ApiRefused as refused:
            if refused.slug != "in-flight":
                raise
        time.sleep(
            BUSY_S
        )  # a double click: the first of the two is being answered, and its answer is this one's
    return asked.visitor.ask(question)


def _by_field(form: Form, refused: ApiRefused) -> dict[str, str]:
    """Sort what the API says is wrong to the fields it is about; the rest belongs to the whole form."""
    names = {each.name: each for each in form.fields}
    found: dict[str, str] = {}
    for each in refused.errors:
        name = each.get("pointer", "").rpartition("/")[2]
        detail = each.get("detail", "is wrong")
        found[name if name in names else ""] = f"{names[name].label}: {detail}" if name in names else detail
    return found


def _examples(contract: ModelContract) -> list[str]:
    """Name the examples that can be filled in: one link for each instance."""
    found = []
    for each in contract.examples:
        count = len(each["instances"])
        names = [each["summary"]] if count == 1 else [f"{each['summary']} ({n + 1})" for n in range(count)]
        found += names
    return found


def _place(model: str, step: int, entries: Mapping[str, str], *, is_check: bool = False) -> str:
    given: dict[str, Any] = dict(entries)
    if is_check:
        return url_for("models.check", model=model, **given)
    if step < 1:
        return url_for("models.form", model=model)
    return url_for("models.step", model=model, step=step, **given)


def _to(place: str) -> Response:
    answer = redirect(place, 303)
    assert isinstance(answer, Response)
    return answer
