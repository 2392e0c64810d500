"""Cells of CSV files: nothing in them is a formula where the file is opened in a spreadsheet."""

from __future__ import annotations

from typing import Any


def safe(value: Any) -> Any:
    """Write a value for a cell; a text that begins like a formula is quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
