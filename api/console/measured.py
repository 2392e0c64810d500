"""How good a model's predictions turned out to be, and which of its alerts fire: figures as tables, and plots."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, url_for

from api.console.pictures import picture
from api.console.tables import Column, Table, conditions, shown
from api.pages.calling import read

measured = Blueprint("measured", __name__, url_prefix="/console/models")
CONDITIONS = ("version", "from", "to")


@measured.get("/<model>/performance")
def performance(model: str) -> str | Response:
    """Measure a window, every prediction unless told, with intervals and what the training promised."""
    entered, asked = conditions(CONDITIONS)
    found = read(f"/v1/models/{model}/performance", **asked)
    table = Table(
        name=f"performance-{model}",
        title="Metrics, under their names in scikit-learn",
        empty="Nothing can be measured yet.",
        rows=[{"metric": name, **each} for name, each in found["metrics"].items()],
        columns=[
            Column(name="metric", title="Metric"),
            Column(name="value", title="Value", kind="number"),
            Column(name="low", title="From", kind="number"),
            Column(name="high", title="To (95 %)", kind="number"),
            Column(name="n", title="Predictions", kind="number"),
            Column(name="at_training", title="Held out of training", kind="number"),
            Column(name="reason", title="Why not"),
        ],
    )
    plots = ("progress", "calibration") if "calibration" in found else ("progress",)
    pictures = {
        each: url_for("measured.plot", model=model, plot=each, **dict[str, Any](entered)) for each in plots
    }
    return shown(
        "console/performance.html", table, model=model, found=found, entered=entered, pictures=pictures
    )


@measured.get("/<model>/performance.svg")
def plot(model: str) -> Response:
    """Give the same as a picture."""
    return picture(f"/v1/models/{model}/performance", conditions((*CONDITIONS, "plot"))[1])


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
