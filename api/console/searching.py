"""A search of the API as a page: its conditions are fields, its state an address, and all that it finds a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Response, render_template

from api.console.tables import Row, Table, conditions, wants_csv, with_args, wrong
from api.pages.calling import ApiRefused, read
from api.pages.whole import whole

PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was entered, and what came of it: rows and where older ones are, or what is wrong with the conditions."""

    entered: Mapping[str, str]
    rows: Sequence[Row] = ()
    next: str | None = None
    errors: Sequence[Mapping[str, str]] = field(default_factory=list)

    def page(self, template: str, table: Table, **more: Any) -> str | tuple[str, int]:
        """Show the fields and the table; where a condition is wrong, under 400."""
        first = with_args(cursor=None)
        shown = {"table": table, "entered": self.entered, "errors": self.errors, "next": self.next}
        answer = render_template(template, **shown, first=first, **more)
        return (answer, 400) if self.errors else answer


def search(path: str, member: str, labels: Mapping[str, str], file: str) -> Search | Response:
    """Ask for a page of rows by the conditions of the address, named by `labels`; or for all of them, as a file."""
    entered, asked = conditions(labels)
    try:
        if wants_csv():
            return whole(path, asked, file)
        found = read(path, limit=PAGE, **asked, **conditions(("cursor",))[1])
    except ApiRefused as refused:
        return Search(entered=entered, errors=wrong(refused, labels))
    older = with_args(cursor=found["next"]) if "next" in found else None
    return Search(entered=entered, rows=found[member], next=older)
