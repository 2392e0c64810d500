"""Security events: what was denied and which tokens were given, found by kind, client and time."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response

from api.console.searching import search
from api.console.tables import Column, Row, Table

events_pages = Blueprint("events", __name__, url_prefix="/console/events")
PATH = "/v1/security-events"
LABELS = {"kind": "Kind", "client": "Client", "from": "From", "to": "Before"}
KINDS = ("unauthenticated", "forbidden", "refused", "foreign", "token-issued", "token-refused", "lost")


@events_pages.get("")
def events() -> str | Response | tuple[str, int]:
    """List security events, the last written first; as CSV, all of them with all there is to know."""
    found = search(PATH, "events", LABELS, "security-events")
    if isinstance(found, Response):
        return found
    return found.page("console/events.html", _table(found.rows), kinds=KINDS)


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
