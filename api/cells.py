"""CSV, a piece at a time; nothing in a cell is a formula where the file is opened in a spreadsheet."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BATCH = 500  # rows in one piece


def safe(value: Any) -> Any:
    """Write a value for a cell; a text that begins like a formula is quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def table(columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    """Write a table; the first piece has the names and the first rows, so that it shows whether rows can be read."""
    header: list[Mapping[str, Any]] = [dict(zip(columns, columns, strict=True))]
    while batch := [*header, *itertools.islice(rows, BATCH)]:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\r\n")
        writer.writerows({name: safe(value) for name, value in each.items()} for each in batch)
        yield text.getvalue().encode()
        header = []
