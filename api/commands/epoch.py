"""The command that declares a restored backup: what is lost is written down before anything else is."""

from __future__ import annotations

from pathlib import Path

import click

from api.settings import Settings, environment


@click.command()
@click.option(
    "--reason", required=True, help="Why a backup had to be restored; it is recorded with your name."
)
@click.option(
    "--anchor",
    "anchors",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="More checkpoints of what is lost: a file of them, or a signed note. Read besides ONRECORD_ANCHOR.",
)
def epoch(reason: str, anchors: tuple[Path, ...]) -> None:
    """Begin a new epoch on a restored backup: what it lacks is declared, as the first record of the epoch."""
    from api.commands.declaring import declare

    declared = declare(Settings.from_environment(environment()), reason, anchors)
    click.echo(f"epoch {declared.number} begins with record {declared.size}")
    if declared.lost:
        first = f"{declared.size} to {declared.size + declared.lost - 1}"
        click.echo(
            f"lost    records {first} of epoch {declared.known_epoch}, as far as checkpoints were anchored"
        )
    click.echo(f"key     {declared.key}")
    click.echo("        give it to your witnesses; the key that people have pinned stays the same")
