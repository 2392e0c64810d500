"""How good a model is, on one page: measured after training, by what really happened since, and what has moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, abort, render_template
from markupsafe import Markup

from api.composition import ModelContract
from api.contract import Contract
from api.pages import versions
from api.pages.access import Access, Visitor
from api.pages.calling import ApiRefused, Question, ask
from api.pages.fields import form_of
from api.pages.locales import words
from api.pages.measures import described
from api.plots import measured, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What moved in the last week: a plot, or how many predictions it would take for one."""

    n: int
    needed: int
    plot: Markup | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The page of a model's quality; `offered` are the addresses that the contract has."""

    contracts: Mapping[str, ModelContract]
    labels: Mapping[str, Mapping[str, str]]
    offered: frozenset[str]
    access: Access

    def page(self, model: str) -> str:
        """Show it."""
        if model not in self.contracts:
            abort(404)
        visitor = self.access.visitor(model)
        version = versions.champion(visitor, model)
        # Of all clients, and dear to compute: not for strangers.
        is_told = version is not None and not visitor.is_public
        live = self._live(visitor, model) if is_told else None
        return render_template(
            "quality.html",
            contract=self.contracts[model],
            labels=self.labels[model],
            version=version,
            live=live,
            described=described,
            plots=_plots(live or {}),
            drift=self._drift(visitor, model) if is_told else None,
        )

    def _live(self, visitor: Visitor, model: str) -> Mapping[str, Any] | None:
        if "/v1/models/{model}/performance" not in self.offered:
            return None
        found: Mapping[str, Any] | None = _asked(visitor, f"/v1/models/{model}/performance")
        return found

    def _drift(self, visitor: Visitor, model: str) -> Drift | None:
        if "/v1/models/{model}/drift" not in self.offered:
            return None
        try:
            found = _asked(visitor, f"/v1/models/{model}/drift")
        except ApiRefused as refused:
            if refused.status not in (404, 409):
                raise
            return None
        return moved(found, self.labels[model])


def moved(found: Mapping[str, Any], labels: Mapping[str, str]) -> Drift:
    """Draw how far each feature moved, in the words of the form; of too few predictions nothing is drawn."""
    needed = int(found["thresholds"]["minimum_n"])
    if found["n"] < needed:
        return Drift(n=found["n"], needed=needed, plot=None)
    rows = [
        spread.Row(
            name=labels.get(each["name"], words(each["name"])), psi=each["psi"], verdict=each["verdict"]
        )
        for each in (*found["features"], found["output"])
        if each["psi"] is not None
    ]
    watch, drifted = found["thresholds"]["psi_watch"], found["thresholds"]["psi_drifted"]
    plot = Markup(spread.drift(rows, watch=watch, drifted=drifted))  # noqa: S704  # api/plots escapes all text
    return Drift(n=found["n"], needed=needed, plot=plot)


def create_quality(contract: Contract, access: Access) -> Blueprint:
    """Build the pages of these models' quality."""
    blueprint = Blueprint("quality", __name__, url_prefix="/models")
    quality = Quality(
        contracts=contract.models,
        labels={name: form_of(each).labels for name, each in contract.models.items()},
        offered=frozenset(contract.document["paths"]),
        access=access,
    )
    blueprint.add_url_rule("/<model>/performance", "page", quality.page)
    return blueprint


def _asked(visitor: Visitor, path: str) -> Any:
    return ask(Question(method="GET", path=path, token=visitor.token)).content


def _plots(live: Mapping[str, Any]) -> list[Markup]:
    """Draw what outcomes allow to be drawn."""
    drawn = [
        plot(live)
        for needed, plot in (
            ("confusion_matrix", measured.confusion),
            ("roc_curve", measured.roc),
            ("roc_curve", measured.precision_recall),
            ("calibration", measured.calibration),
        )
        if live.get(needed)
    ]
    return [Markup(each) for each in drawn]  # noqa: S704  # made by api/plots, which escapes all text
