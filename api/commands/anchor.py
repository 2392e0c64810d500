"""The commands about the anchor file: what it knows, whether the database has grown from there, and adding to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.refusals import CommandRefused
from api.settings import Settings, environment

if TYPE_CHECKING:
    from db.notes import SignedCheckpoint, VerifierKey


@click.group(invoke_without_command=True)
@click.pass_context
def anchor(context: click.Context) -> None:
    """Show the newest checkpoint that is kept outside the database."""
    from api.anchoring import anchor_of

    if context.invoked_subcommand is not None:
        return
    settings = Settings.from_environment(environment())
    kept = anchor_of(settings)
    note = kept.last()
    if note is None:
        click.echo(f"{kept.path} keeps no checkpoint yet")
        return
    _, signed = _opened(note, _pinned(settings), kept.path)
    checkpoint = signed.checkpoint
    click.echo(f"{kept.path} ends with {checkpoint.size} records of {checkpoint.origin}")
    click.echo(f"root {checkpoint.root.hex()}")


@anchor.command("check")
def check_anchor() -> None:
    """Compare the newest checkpoint with the database, as every start does; exit code 2 where they contradict."""
    from api.anchoring import anchor_of
    from db import heads, migrate
    from db.engine import open_reader

    settings = Settings.from_environment(environment())
    migrate.check(settings.database_url)
    reader = open_reader(settings.database_url)
    try:
        head = heads.read(reader)
        anchor_of(settings).check(reader, _pinned(settings), head.epoch)
    finally:
        reader.dispose()
    click.echo(f"the database, with {head.size} records in epoch {head.epoch}, has grown from its anchor")


@anchor.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def import_anchor(file: Path) -> None:
    """Keep a checkpoint from elsewhere, such as a witness's, if it is ahead of all that are kept."""
    from api.anchoring import anchor_of, read_anchor
    from api.engine import pen

    settings = Settings.from_environment(environment())
    key, kept = _pinned(settings), anchor_of(settings)
    with pen.held(settings.var):  # nobody else may add to the file meanwhile
        last = kept.last()
        known = (-1, -1) if last is None else _place(last, key, kept.path)
        ahead = [note for note in read_anchor(file) if _place(note, key, file) > known]
        # The last line is what a start is held to, so an older one must never come behind it.
        for note in sorted(ahead, key=lambda note: _place(note, key, file)):
            kept.append(note)
    click.echo(f"{len(ahead)} checkpoints of {file} are ahead of {kept.path}, and kept there now")


def _pinned(settings: Settings) -> VerifierKey:
    from api.engine import seals

    return seals.read(settings.var).signer.key()


def _opened(note: bytes, key: VerifierKey, path: Path) -> tuple[int, SignedCheckpoint]:
    from db.epochs import open_any
    from db.notes import NoteRefused

    try:
        return open_any(note, key)
    except NoteRefused as refused:
        raise CommandRefused(f"{path} has a checkpoint that is not of this ledger: {refused}") from refused


def _place(note: bytes, key: VerifierKey, path: Path) -> tuple[int, int]:
    epoch, signed = _opened(note, key, path)
    return epoch, signed.checkpoint.size
