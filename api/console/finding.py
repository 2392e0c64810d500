"""Finding predictions: every filter of the API as a field, every state of the search an address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, render_template, url_for

from api.console.tables import Column, Row, Table, conditions, wants_csv, with_args, wrong
from api.pages.calling import ApiRefused, read
from api.pages.whole import whole

PAGE = 50
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
        entered, asked = conditions(LABELS)
        page: dict[str, Any] = {"predictions": []}
        errors: list[dict[str, str]] = []
        try:
            if wants_csv():
                return whole(PATH, asked, "predictions")
            page = read(PATH, limit=PAGE, **asked, **conditions(("cursor",))[1])
        except ApiRefused as refused:
            errors = wrong(refused, LABELS)
        answer = render_template(
            "console/find.html",
            table=_table(page["predictions"], entered),
            models=models,
            entered=entered,
            errors=errors,
            next=with_args(cursor=page["next"]) if "next" in page else None,
            first=with_args(cursor=None),
        )
        return (answer, 400) if errors else answer

    return finding


def _table(rows: Sequence[Row], entered: dict[str, str]) -> Table:
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
