"""The command that checks a receipt: no service, no database, no network; bytes and the key the caller has pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

UNWITNESSED = 3  # as verify says that nothing outside vouches for it
FALSE = 1  # 2 is for what cannot be read, as everywhere
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="The public key you have pinned (var/ledger.pub).")
@click.option("--input", "sent", type=_FILE, help="The exact bytes of the request's body.")
@click.option("--output", "answered", type=_FILE, help="The exact bytes of the answer's body.")
@click.option(
    "--witness", "witnesses", multiple=True, help="The key of a witness that must have cosigned it."
)
@click.pass_context
def receipt(context: click.Context, /, file: Path, key: Path, **given: Any) -> None:
    """Check a receipt offline: FILE is its JSON, or the headers that `curl -D` saved."""
    from api.commands.witnessed import read
    from api.receipts import ReceiptFalse, ReceiptUnreadable, ReceiptUnwitnessed, check, evidence
    from api.refusals import CommandRefused
    from db.notes import NoteRefused, VerifierKey

    try:
        pinned = VerifierKey.parse(key.read_text().strip())
        witnesses = [witness for witness, _ in map(read, given["witnesses"])]
        contents = {"input": _bytes(given["sent"]), "output": _bytes(given["answered"])}
        for line in check(evidence(file.read_bytes()), pinned, witnesses, **contents):
            click.echo(line)
    except ReceiptUnwitnessed as unwitnessed:
        click.echo(f"UNWITNESSED {unwitnessed}")
        context.exit(UNWITNESSED)
    except ReceiptFalse as false:
        click.echo(f"FALSE       {false}")
        context.exit(FALSE)
    except ReceiptUnreadable as unreadable:
        raise CommandRefused(f"{file}: {unreadable}") from unreadable
    except NoteRefused as refused:
        raise CommandRefused(f"--key {key}: {refused}") from refused
    except (OSError, UnicodeDecodeError) as unread:
        raise CommandRefused(f"cannot be read: {unread}") from unread
    click.echo("the receipt holds")


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
