"""The command that is a witness: for another team, on another host, over a folder of its own."""

from __future__ import annotations

import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.refusals import CommandRefused

if TYPE_CHECKING:
    import socket

    from db.notes import Signer, VerifierKey
    from db.witness import Witness

MOST_AT_ONCE = 64  # connections; one more is answered 503
_CURE = "restore it: without it this witness is another one"


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Holds this witness's key and what it has seen; made on the first start.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    required=True,
    help="A ledger's public key, or a file with one a line (its var/ledger.pub); may be repeated.",
)
@click.option(
    "--name", help="The name it signs as, for its first start: yours, such as witness.example.org/1"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8090, show_default=True)
def witness(folder: Path, logs: tuple[str, ...], name: str | None, host: str, port: int) -> None:
    """Be a witness of other people's ledgers: cosign each checkpoint that has grown from the last one."""
    from api import logs as logging
    from api.processes.listening import bind
    from db.witness import Witness

    keys = [key for each in logs for key in _keys(each)]
    signer = _signer(folder, name)
    seen = Witness(folder / "witness.db", signer, keys, lambda: int(time.time()))
    logging.configure("witness", "info", debug=False)
    sockets = bind(host, port)
    click.echo(f"witness {_public(folder).read_text().strip()}")
    for key in keys:
        click.echo(f"of      {key.name}")
    _serve(seen, sockets)


def _keys(given: str) -> list[VerifierKey]:
    from db.notes import ED25519, NoteRefused, VerifierKey

    try:
        path = Path(given)
        lines = path.read_text().split() if path.is_file() else [given]
        keys = [VerifierKey.parse(line) for line in lines]
    except (NoteRefused, OSError, UnicodeDecodeError) as refused:
        raise CommandRefused(f"--log {given}: {refused}") from refused
    if not keys or any(key.algorithm != ED25519 for key in keys):
        raise CommandRefused(
            f"--log {given}: a ledger's key is of type 1; there is none, or one of another type"
        )
    return keys


def _signer(folder: Path, name: str | None) -> Signer:
    """Read the witness's key, or make it: its public half, with the name, is written last and says it is whole."""
    from api import keys, signing
    from db.notes import COSIGNATURE, NoteRefused, Signer, VerifierKey

    private, public = folder / "witness.pem", _public(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not public.exists():
            if not private.exists():
                keys.write_private(private, signing.new())
            chosen = name or f"onrecord.local/witness-{secrets.token_hex(4)}"
            made = Signer(name=chosen, private=signing.read(private, _CURE))
            keys.write_private(public, f"{made.key(COSIGNATURE)}\n".encode())
            public.chmod(0o644)
        known = VerifierKey.parse(public.read_text().strip())
    except NoteRefused as refused:
        raise CommandRefused(f"{public} or --name {name}: {refused}") from refused
    except OSError as refused:
        raise CommandRefused(f"--folder {folder}: {refused}") from refused
    signer = Signer(name=known.name, private=signing.read(private, _CURE))
    if signer.key(COSIGNATURE) != known:
        raise CommandRefused(f"{public} is not the public key of {private}; {_CURE}")
    if name not in (None, known.name):
        raise CommandRefused(f"--name {name}: this witness is called {known.name}, and a name is for ever")
    return signer


def _public(folder: Path) -> Path:
    return folder / "witness.pub"


def _serve(seen: Witness, sockets: list[socket.socket]) -> None:
    import uvicorn

    from api.processes.watching import STOPPING
    from api.witnessing import create_app

    for number in STOPPING:  # as in a door: ending well must not look like being killed
        signal.signal(number, signal.SIG_IGN)
    config = uvicorn.Config(
        create_app(seen),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
    )
    try:
        uvicorn.Server(config).run(sockets=sockets)
    finally:
        seen.close()
