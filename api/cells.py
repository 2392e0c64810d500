"""CSV, a piece at a time; nothing in a cell is a formula where the file is opened in a spreadsheet."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BATCH = 500  # rows in one piece


# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"), and the apostrophe itself: whoever
# takes one apostrophe away from the front of a cell has the text again, whatever it was.
_QUOTED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


def safe(value: Any) -> Any:
    """Write a value for a cell; a text like a formula, or one that begins with an apostrophe, gets one before it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_QUOTED) else value


def table(columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    """Write a table; the first piece has the names and the first rows, so that it shows whether rows can be read."""
    header: list[Mapping[str, Any]] = [dict(zip(columns, columns, strict=True))]
    while batch := [*header, *itertools.islice(rows, BATCH)]:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\r\n")
        writer.writerows({name: safe(value) for name, value in each.items()} for each in batch)
        yield text.getvalue().encode()
        header = []
