"""The rows of a report, whichever way they came: as JSON, one line of JSON each, or as CSV.

Whatever comes is held against the contract's one schema of a report; a row of CSV is first turned into an object by
marshmallow. What is not described there refuses the whole request, and names every culprit.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import EXCLUDE, pre_load
from marshmallow import Schema as Shape
from marshmallow.fields import String

from api.bodies import read_json
from api.calls import JSON, Call
from api.problems import validation
from api.schemas import Schema

CSV, NDJSON = "text/csv", "application/x-ndjson"
MOST = 10_000
_COLUMNS = ("prediction", "model", "reference", "value", "observed_at")


class _Row(Shape):
    """One row of CSV: every cell a text, an empty one as if it were not there."""

    class Meta:
        unknown = EXCLUDE  # the header was looked at once for all rows

    prediction = String()
    model = String()
    reference = String()
    value = String()
    observed_at = String()

    @pre_load
    def leave_out_empty(self, row: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Take what has something in it."""
        return {name: cell for name, cell in row.items() if cell != ""}


_ROW = _Row()


def read(call: Call, report: Schema) -> list[dict[str, Any]]:
    """Return the rows of a report in their order.

    Raises:
        RequestRefused: the body is none that the contract describes.
    """
    if call.media == JSON:
        rows: list[dict[str, Any]] = call.body["outcomes"]
        return rows
    if not call.raw.strip():
        raise validation([{"pointer": "", "detail": "a body is required"}])
    lines = _csv(call.raw) if call.media == CSV else map(read_json, _lines(call.raw))
    found = []
    for each in lines:
        found.append(each)
        if len(found) > MOST:
            break  # one too many is what the contract has to say about it
    body = {"outcomes": found}
    if not report.is_valid(body):
        raise validation(*report.violations(body))
    return found


def _lines(raw: bytes) -> Iterator[bytes]:
    return (line for line in raw.split(b"\n") if line.strip())


def _csv(raw: bytes) -> Iterator[dict[str, Any]]:
    try:
        text = raw.decode("utf-8-sig")  # spreadsheets put a BOM in front
    except UnicodeDecodeError as broken:
        raise _broken("the body is not UTF-8") from broken
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows)
        _check(header)
        for number, cells in enumerate(filter(None, rows)):
            if len(cells) != len(header):
                detail = f"has {len(cells)} cells, the first line names {len(header)} columns"
                raise validation([{"pointer": f"/outcomes/{number}", "detail": detail}])
            yield dict(_ROW.load(dict(zip(header, cells, strict=True))))
    except (csv.Error, StopIteration) as broken:
        raise _broken("cannot be read as CSV (RFC 4180)") from broken


def _check(header: list[str]) -> None:
    known = set(_COLUMNS)
    if "value" not in header or not set(header) <= known or len(set(header)) != len(header):
        raise _broken(
            f"the first line names columns, each once, out of {', '.join(_COLUMNS)}; value is needed"
        )


def _broken(detail: str) -> Exception:
    return validation([{"pointer": "", "detail": detail}])
