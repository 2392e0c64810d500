"""Security events: what was denied and which tokens were given, found by kind, client and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, render_template

from api.console.tables import Column, Row, Table, conditions, wants_csv, with_args, wrong
from api.pages.calling import ApiRefused, read
from api.pages.whole import whole

events_pages = Blueprint("events", __name__, url_prefix="/console/events")
PATH, PAGE = "/v1/security-events", 50
LABELS = {"kind": "Kind", "client": "Client", "from": "From", "to": "Before"}
KINDS = ("unauthenticated", "forbidden", "refused", "foreign", "token-issued", "token-refused", "lost")


@events_pages.get("")
def events() -> str | Response | tuple[str, int]:
    """List security events, the last written first; as CSV, all of them with all there is to know."""
    entered, asked = conditions(LABELS)
    page: dict[str, Any] = {"events": []}
    errors: list[dict[str, str]] = []
    try:
        if wants_csv():
            return whole(PATH, asked, "security-events")
        page = read(PATH, limit=PAGE, **asked, **conditions(("cursor",))[1])
    except ApiRefused as refused:
        errors = wrong(refused, LABELS)
    answer = render_template(
        "console/events.html",
        table=_table(page["events"]),
        entered=entered,
        errors=errors,
        kinds=KINDS,
        next=with_args(cursor=page["next"]) if "next" in page else None,
        first=with_args(cursor=None),
    )
    return (answer, 400) if errors else answer


def _table(rows: Sequence[Row]) -> Table:
    return Table(
        name="security-events",
        title="Security events, newest first",
        empty="No such event is kept. Events appear within seconds; take a condition away to see others.",
        rows=rows,
        columns=[
            Column(name="at", title="At (UTC)", kind="time"),
            Column(name="kind", title="Kind"),
            Column(name="reason", title="Reason"),
            Column(name="client", title="Client"),
            Column(name="address", title="From"),
            Column(name="target", title="Asked for"),
            Column(name="needed", title="Needed"),
            Column(name="suppressed", title="Stands for", kind="number"),
            Column(name="request", title="Request"),
        ],
    )
