"""How good a model's predictions turned out to be, and which of its alerts fire: figures as tables, and plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for

from api.console import figures
from api.console.pictures import picture
from api.console.tables import Column, Table, conditions, shown, wrong
from api.pages.calling import ApiRefused, read
from api.plots import measured as plots

measured = Blueprint("measured", __name__, url_prefix="/console/models")
LABELS = {"version": "Version", "from": "From", "to": "Before", "bucket": "A table by", "by": "Groups by"}


@measured.get("/<model>/performance")
def performance(model: str) -> str | Response | tuple[str, int]:
    """Measure a window, every prediction unless told, with intervals and what the training promised."""
    entered, asked = conditions(LABELS)
    features = [each["name"] for each in read(f"/v1/models/{model}")["features"]]
    try:
        found = read(f"/v1/models/{model}/performance", **asked)
    except ApiRefused as refused:
        errors = wrong(refused, LABELS)
        more = {"model": model, "found": None, "entered": entered, "features": features, "errors": errors}
        return render_template("console/performance.html", **more), 400
    metric = request.args.get("metric", "")
    metric = metric if metric in found["metrics"] else plots.HEADLINE[found["kind"]]
    entered |= {"metric": metric}
    return shown(
        "console/performance.html",
        figures.of_all(model, found),
        *figures.others(found, metric),
        model=model,
        found=found,
        entered=entered,
        features=features,
        pictures=[(_place(model, plot, entered), plots.SAID[plot]) for plot in plots.drawable(found)],
    )


@measured.get("/<model>/performance.svg")
def plot(model: str) -> Response:
    """Give the same as a picture."""
    return picture(f"/v1/models/{model}/performance", conditions((*LABELS, "plot", "metric"))[1])


def _place(model: str, plot: str, entered: Mapping[str, str]) -> str:
    """Name the address of a picture; only progress depends on a metric and on buckets, none on a feature."""
    own = ("version", "from", "to", *(("bucket", "metric") if plot == plots.PROGRESS else ()))
    kept = {name: text for name, text in entered.items() if name in own}
    return url_for("measured.plot", model=model, plot=plot, **dict[str, Any](kept))


@measured.get("/<model>/alerts")
def alerts(model: str) -> str | Response:
    """List every alert of the model's contract with its state."""
    table = Table(
        name=f"alerts-{model}",
        title="Alerts",
        empty=f"This model has no alerts. Name some in openapi/models/{model}.yaml (x-alerts), and start again.",
        rows=read(f"/v1/models/{model}/alerts")["alerts"],
        columns=[
            Column(name="alert", title="Alert"),
            Column(name="state", title="State"),
            Column(name="since", title="Since (UTC)", kind="time"),
            Column(name="metric", title="Metric"),
            Column(name="feature", title="Feature"),
            Column(name="value", title="Measured", kind="number"),
            Column(name="direction", title="Fires"),
            Column(name="threshold", title="Threshold", kind="number"),
            Column(name="n", title="Predictions", kind="number"),
            Column(name="why", title="Why nothing was concluded"),
        ],
    )
    return shown("console/alerts.html", table, model=model)
