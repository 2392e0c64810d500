"""Tables of the console: said once what their columns are, shown as a page, or given as CSV."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from flask import Response, abort, render_template, request

from api.cells import safe
from api.pages.calling import ApiRefused

Row = Mapping[str, Any]
TIMES = ("from", "to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; `fixed` numbers stand point below point, `link` leads from a row's cell to what it names."""

    name: str
    title: str
    kind: Literal["text", "time", "number", "fixed", "digest", "yes", "code", "marked"] = "text"
    link: Callable[[Row], str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under their columns; `empty` says what to do where there are none."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str


def wants_csv() -> bool:
    """Say whether the address asks for the table as a file."""
    return request.args.get("format") == "csv"


def shown(template: str, table: Table, *others: Table, **more: Any) -> str | Response:
    """Show a page around its tables, or one of them alone as CSV: the first, unless the address names another."""
    if not wants_csv():
        return render_template(template, table=table, tables=others, **more)
    name = request.args.get("table", table.name)
    found = [each for each in (table, *others) if each.name == name]
    return as_csv(found[0]) if found else abort(404)


def as_csv(table: Table) -> Response:
    """Write a table as a file for spreadsheets, in which no cell is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows([safe(row.get(column.name)) for column in table.columns] for row in table.rows)
    headers = {"Content-Disposition": f'attachment; filename="{table.name}.csv"'}
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def with_args(**changed: str | None) -> str:
    """Name this very address with some of its conditions changed; None takes one away."""
    kept = {name: text for name, text in request.args.items() if text and name not in changed}
    kept |= {name: text for name, text in changed.items() if text is not None}
    place = request.script_root + request.path
    return f"{place}?{urlencode(kept)}" if kept else place


def zoned(text: str) -> str:
    """Complete what a field for date and time holds: it knows no zone, and the page says that it means UTC."""
    if len(text) == len("2026-11-20T09:30"):
        return f"{text}:00Z"
    if len(text) == len("2026-11-20T09:30:00"):
        return f"{text}Z"
    return f"{text}T00:00:00Z" if len(text) == len("2026-11-20") else text


def unzoned(text: str) -> str:
    """Write a time as a field for date and time shows it, in UTC; what is no time stays what it is."""
    try:
        time = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return text
    return f"{time:%Y-%m-%dT%H:%M:%S}"


def wrong(refused: ApiRefused, labels: Mapping[str, str]) -> list[dict[str, str]]:
    """Say what is wrong with the conditions of an address, for each field and for the summary.

    A version that there is not is a wrong entry, too. Raises what was refused where it is not about them.
    """
    if refused.status == 404 and request.args.get("version"):
        return [{"id": "version", "text": f"{labels['version']} is none of this model's"}]
    if refused.status != 400:
        raise refused
    return [_said(each, refused, labels) for each in refused.errors or [{}]]


def _said(error: Mapping[str, str], refused: ApiRefused, labels: Mapping[str, str]) -> dict[str, str]:
    name = error.get("parameter", "")
    if name not in labels:
        return {"id": next(iter(labels)), "text": str(refused)}
    detail = "must be a time, such as 2026-11-20T09:30" if name in TIMES else error["detail"]
    return {"id": name, "text": f"{labels[name]} {detail}"}


def conditions(names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Read the conditions of an address: as fields show them, and as the API takes them."""
    entered = {name: text for name in names if (text := request.args.get(name, "").strip())}
    asked = {name: zoned(text) if name in TIMES else text for name, text in entered.items()}
    return {name: unzoned(text) if name in TIMES else text for name, text in asked.items()}, asked
