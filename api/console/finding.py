"""Finding predictions: every filter of the API as a field, every state of the search an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask import Blueprint, Response, url_for

from api.console.searching import search
from api.console.tables import Column, Row, Table

PATH = "/v1/predictions"
# The conditions of the API, by what a person calls them.
LABELS = {
    "model": "Model",
    "version": "Version",
    "reference": "Reference",
    "label": "Label",
    "score_min": "Score from",
    "score_max": "Score to",
    "client": "Client",
    "from": "From",
    "to": "Before",
    "has_outcome": "Outcome",
}


def create_finding(models: Sequence[str]) -> Blueprint:
    """Build the page that finds predictions."""
    finding = Blueprint("finding", __name__, url_prefix="/console")

    @finding.get("")
    def find() -> str | Response | tuple[str, int]:
        found = search(PATH, "predictions", LABELS, "predictions")
        if isinstance(found, Response):
            return found
        return found.page("console/find.html", _table(found.rows, found.entered), models=models)

    return finding


def _table(rows: Sequence[Row], entered: Mapping[str, str]) -> Table:
    def opened(row: Row) -> str:
        return url_for("opening.prediction", name=row["id"])

    empty = (
        "Nothing matches. Take a condition away, or widen the range of times."
        if entered
        else "Nothing was predicted yet. Ask a model by its form, or by the API; the prediction is here at once."
    )
    return Table(
        name="predictions",
        title="Predictions, newest first",
        empty=empty,
        rows=rows,
        columns=[
            Column(name="at", title="At (UTC)", kind="time", link=opened),
            Column(name="model", title="Model"),
            Column(name="version", title="Version"),
            Column(name="reference", title="Reference"),
            Column(name="label", title="Label"),
            Column(name="score", title="Score", kind="number"),
            Column(name="client", title="Client"),
            Column(name="has_outcome", title="Outcome", kind="yes"),
            Column(name="erased", title="Erased", kind="yes"),
        ],
    )
