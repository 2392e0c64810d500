"""How far a model's questions and answers have moved: the figures of the API as a table, its plot as a picture."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, render_template, url_for

from api.console.pictures import picture
from api.console.tables import Column, Table, conditions, shown, wrong
from api.pages.calling import ApiRefused, read

drifted = Blueprint("drifted", __name__, url_prefix="/console/models")
LABELS = {"version": "Version", "from": "From", "to": "Before", "against": "Against"}


@drifted.get("/<model>/drift")
def drift(model: str) -> str | Response | tuple[str, int]:
    """Compare a window with the training, or with the window before; a week until now, unless told."""
    entered, asked = conditions(LABELS)
    try:
        found = read(f"/v1/models/{model}/drift", **asked)
    except ApiRefused as refused:
        errors = wrong(refused, LABELS)
        return render_template(
            "console/drift.html", model=model, found=None, entered=entered, errors=errors
        ), 400
    table = Table(
        name=f"drift-{model}",
        title="Every feature, and the output",
        empty="This version has no features.",
        rows=[_flat(each) for each in (*found["features"], found["output"])],
        columns=[
            Column(name="name", title="What"),
            Column(name="verdict", title="Verdict"),
            Column(name="psi", title="PSI", kind="fixed"),
            Column(name="p_adjusted", title="p, adjusted", kind="number"),
            Column(name="missing", title="Missing", kind="fixed"),
            Column(name="unseen", title="Never seen", kind="fixed"),
            Column(name="n", title="Rows", kind="number"),
        ],
    )
    plot = url_for("drifted.plot", model=model, **dict[str, Any](entered))
    return shown("console/drift.html", table, model=model, found=found, entered=entered, plot=plot)


@drifted.get("/<model>/drift.svg")
def plot(model: str) -> Response:
    """Give the same as a picture."""
    return picture(f"/v1/models/{model}/drift", conditions(LABELS)[1])


def _flat(shift: dict[str, Any]) -> dict[str, Any]:
    return {
        **shift,
        "p_adjusted": shift.get("test", {}).get("p_adjusted"),
        "missing": shift["missing"]["value"],
        "unseen": shift["unseen"]["value"],
    }
