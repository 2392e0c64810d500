"""The command that writes what was predicted, and what happened, as Parquet files for other programs.

It reads beside a running service. The folder is there when all of it is: until then it is made beside its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api import times
from api.refusals import CommandRefused
from api.settings import Settings, environment

if TYPE_CHECKING:
    from rich.progress import Progress

    from models.parquet import Export, Table


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", "names", multiple=True, help="Only this model; may be repeated. Default: all.")
@click.option(
    "--from", "since", help="Only what was predicted at or after this time (RFC 3339, with offset)."
)
@click.option("--to", "until", help="Only what was predicted before this time.")
def export(folder: Path, names: tuple[str, ...], since: str | None, until: str | None) -> None:
    """Write predictions as Parquet into a new FOLDER, by model and day: features, outputs, warnings, outcomes."""
    from api import contract, exports
    from api.app import CONTRACT
    from db import migrate
    from models.parquet import Column, Export, FolderTaken, Table

    settings = Settings.from_environment(environment())
    known = contract.read(CONTRACT, settings.max_instances).models
    if strangers := sorted(set(names) - set(known)):
        raise CommandRefused(f"there is no model {', '.join(strangers)}; there are: {', '.join(known)}")
    span = (_time("--from", since), _time("--to", until))
    migrate.check(settings.database_url)
    tables = {
        name: Table([Column(name=each, kind=kind) for each, kind in exports.columns(known[name]).items()])
        for name in names or known
    }
    try:
        with Export(folder, tables) as out:
            _write(settings.database_url, out, list(tables), span)
    except FolderTaken as taken:
        raise CommandRefused(
            f"there is something in {taken}; name a folder that does not exist yet"
        ) from taken
    click.echo(f"{out.rows:,} predictions in {out.files} files: {folder}")
    _tell_misfits(tables)


def _write(
    database_url: str, out: Export, models: list[str], times_us: tuple[int | None, int | None]
) -> None:
    from api.exports import rows
    from db import exporting
    from db.engine import open_reader

    engine = open_reader(database_url)
    up_to = exporting.size(engine)
    with _progress() as bar:
        task = bar.add_task("records", total=up_to)
        for span in exporting.walk(engine, up_to, models, *times_us):
            for model in dict.fromkeys(each.model for each in span.records):
                its = (each for each in span.records if each.model == model)
                out.add(model, [(each.observed_at_us, row) for each in its for row in rows(each)])
            bar.update(task, completed=span.places.stop)
    engine.dispose()


def _tell_misfits(tables: Mapping[str, Table]) -> None:
    for model, table in tables.items():
        if table.misfits:
            click.echo(
                f"{model}: {table.misfits:,} values are not of the type that the contract names today; they are empty",
                err=True,
            )


def _time(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else times.read_us(text)
    except (ValueError, TypeError) as refused:
        raise CommandRefused(
            f"{option} {text} is no time with offset, such as 2026-11-20T00:00:00Z"
        ) from refused


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
