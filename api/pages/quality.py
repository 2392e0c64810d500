"""How good a model is, on one page: measured after training, by what really happened since, and what has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, abort
from markupsafe import Markup

from api.composition import ModelContract
from api.console import figures
from api.console.tables import Column, Table, shown
from api.contract import Contract
from api.pages import locales, versions
from api.pages.access import Access, Visitor
from api.pages.calling import ApiRefused, Question
from api.pages.fields import form_of
from api.pages.locales import words
from api.pages.measures import described
from api.pages.versions import Version
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

    def page(self, model: str) -> str | Response:
        """Show it."""
        if model not in self.contracts:
            abort(404)
        visitor = self.access.visitor(model)
        version = versions.champion(visitor, model)
        # Of all clients, and dear to compute: not for strangers.
        is_told = version is not None and not visitor.is_public
        live = self._live(visitor, model) if is_told else None
        is_drawn = "roc_curve" in (live or {}) or "actuals" in (live or {})
        trained = {} if version is None else version.content
        output = self.contracts[model].output
        return shown(
            "quality.html",
            _measures(model, live or {}),
            *_drawn(live or {}, trained),
            contract=self.contracts[model],
            labels=self.labels[model],
            version=version,
            live=live,
            described=described,
            plots=_plots(live, output.get("x-unit")) if live else [],
            off={each["quantile"]: each["error"] for each in (live or {}).get("errors", ())},
            before=[] if is_drawn or version is None else _before(version, output.get("x-unit")),
            is_too_old=output["kind"] == "regressor" and "actuals" not in trained,
            drift=self._drift(visitor, model) if is_told else None,
            alerts=self._alerts(visitor, model) if is_told else None,
        )

    def _live(self, visitor: Visitor, model: str) -> Mapping[str, Any] | None:
        """Measure everything there is, by day, or by month where the days are too many for an answer."""
        if "/v1/models/{model}/performance" not in self.offered:
            return None
        path = f"/v1/models/{model}/performance"
        try:
            found: Mapping[str, Any] = _asked(visitor, path, bucket="day")
        except ApiRefused as refused:
            if refused.status != 400:
                raise
            found = _asked(visitor, path, bucket="month")
        return found

    def _alerts(self, visitor: Visitor, model: str) -> Sequence[Mapping[str, Any]] | None:
        if "/v1/models/{model}/alerts" not in self.offered:
            return None
        try:
            found: Sequence[Mapping[str, Any]] = _asked(visitor, f"/v1/models/{model}/alerts")["alerts"]
        except ApiRefused as refused:
            if refused.status != 503:  # the engine knows them; the rest of the page can do without
                raise
            return None
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
    return Drift(n=found["n"], needed=needed, plot=_inline(spread.drift(rows, watch=watch, drifted=drifted)))


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


def _asked(visitor: Visitor, path: str, **query: str) -> Any:
    return visitor.ask(Question(method="GET", path=path, query=query)).content


def _measures(model: str, live: Mapping[str, Any]) -> Table:
    """List what the page shows of metrics in use, as a file."""
    return Table(
        name=f"quality-{model}",
        title="Measures in use",
        empty="",
        rows=[
            {"measure": described(name), "metric": name, **each}
            for name, each in live.get("metrics", {}).items()
        ],
        columns=[
            Column(name=name, title=name)
            for name in ("measure", "metric", "value", "low", "high", "n", "at_training")
        ],
    )


def _drawn(live: Mapping[str, Any], trained: Mapping[str, Any]) -> list[Table]:
    """List what the pictures are drawn from, where there is any."""
    tables = [
        figures.curve(live if "roc_curve" in live else trained),
        figures.actuals({**live, "at_training": trained}),
    ]
    return [each for each in tables if each.rows]


def _plots(live: Mapping[str, Any], unit: str | None) -> list[tuple[str, Markup]]:
    """Draw what outcomes allow to be drawn, each with what it shows."""
    title = described(measured.HEADLINE[live["kind"]])
    drawn = [
        (
            name,
            measured.over_time(live, title=title)
            if name == measured.PROGRESS
            else measured.PLOTS[name](live),
        )
        for name in measured.drawable(live)
    ]
    return [(_said(name, unit), _inline(svg)) for name, svg in drawn]


def _before(version: Version, unit: str | None) -> list[tuple[str, Markup]]:
    """Draw what training left of the held-out rows, where nothing stands beside it yet."""
    content = version.content
    metrics = {name: {"at_training": value} for name, value in content.get("metrics", {}).items()}
    known = {"metrics": metrics, "at_training": content}
    names = measured.drawable_of_training(known)
    return [(_said(name, unit), _inline(measured.PLOTS[name](known))) for name in names]


def _said(name: str, unit: str | None) -> str:
    """Say what a plot shows, and in what it is measured where that is what the model answers in."""
    said = measured.SAID[name]
    return f"{said}, in {unit}" if unit and name in ("actuals", "residuals") else said


def _inline(svg: str) -> Markup:
    return Markup(locales.drawn(svg))  # noqa: S704  # made by api/plots, which escapes all text
