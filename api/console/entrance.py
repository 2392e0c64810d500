"""The console put together: its pages, open to who may audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flask import Flask, request
from werkzeug.exceptions import Forbidden

from api.console.clients import clients_pages
from api.console.drifted import drifted
from api.console.erasing import erasing
from api.console.events import events_pages
from api.console.finding import create_finding
from api.console.holds import holding
from api.console.ledger import ledger_pages
from api.console.measured import measured
from api.console.opening import opening
from api.console.tables import with_args
from api.console.verifying import verifying
from api.console.versioned import versioned
from api.pages import session

NEEDED = "audit:read"


def install(pages: Flask, models: Collection[str], scopes: Mapping[str, str]) -> None:
    """Add the console to the pages of a door; `scopes` says what each allows."""
    rooms = (
        create_finding(sorted(models)),
        opening,
        erasing,
        holding,
        ledger_pages,
        verifying,
        versioned,
        drifted,
        measured,
        clients_pages,
        events_pages,
    )
    for each in rooms:
        pages.register_blueprint(each)
    names = {each.name for each in rooms}
    pages.jinja_env.globals.update(here=with_args, scope_words=scopes)

    @pages.before_request
    def guard() -> None:
        if request.method == "OPTIONS" or request.blueprint not in names:
            return
        if NEEDED not in session.needed().scopes:
            raise Forbidden(f"The console is for clients with the scope {NEEDED}.")
