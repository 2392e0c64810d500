"""Tables for people: rich on a terminal, plain columns in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table

from api import times
from api.readings import Documented

COLUMNS = ("variable", "default", "allowed", "meaning", "who decides, and what it costs")


def rows(names: Sequence[str], found: Iterable[Sequence[str]]) -> None:
    """Print a table; in a pipe, tab-separated lines that other programs can read."""
    out = Console()
    if not out.is_terminal:
        for row in (names, *found):
            click.echo("\t".join(row))  # rich would turn the tabs into spaces
        return
    table = Table(*names)
    for row in found:
        table.add_row(*row)
    out.print(table)


def time_of(at_us: int | None) -> str:
    """Write a time as the API does; nothing where there is none."""
    return "" if at_us is None else times.text(at_us)


def show(settings: Iterable[Documented]) -> None:
    """Print the settings."""
    rows(COLUMNS, map(_row, settings))


def markdown_of(settings: Iterable[Documented]) -> str:
    """Write the settings as the table of the README."""
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    cells = ([f"`{variable}`", f"`{default}`", *rest] for variable, default, *rest in map(_row, settings))
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells)])


def _row(setting: Documented) -> tuple[str, str, str, str, str]:
    return setting.variable, setting.default, setting.allowed, setting.meaning, setting.trust
