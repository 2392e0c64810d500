"""Security events: what was denied and which tokens were given, found by kind, client and time."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from api.console.tables import Column, Table, conditions, shown, wants_csv, with_args
from api.pages.calling import read
from api.pages.whole import whole

events_pages = Blueprint("events", __name__, url_prefix="/console/events")
PATH, PAGE = "/v1/security-events", 50
KINDS = ("unauthenticated", "forbidden", "refused", "foreign", "token-issued", "token-refused", "lost")


@events_pages.get("")
def events() -> str | Response:
    """List security events, the last written first; as CSV, all of them with all there is to know."""
    entered, asked = conditions(("kind", "client", "from", "to"))
    if wants_csv():
        return whole(PATH, asked, "security-events")
    page: dict[str, Any] = read(PATH, limit=PAGE, **asked, **conditions(("cursor",))[1])
    table = Table(
        name="security-events",
        title="Security events, newest first",
        empty="No such event is kept. Events appear within seconds; take a condition away to see others.",
        rows=page["events"],
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
    return shown(
        "console/events.html",
        table,
        entered=entered,
        kinds=KINDS,
        next=with_args(cursor=page["next"]) if "next" in page else None,
        first=with_args(cursor=None),
    )
