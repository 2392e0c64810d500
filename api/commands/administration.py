"""The commands that change who may call and which version answers; each works while the service runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from api.commands.freshness import DURATION
from api.settings import Settings, environment


def _submit(change: str, **args: Any) -> dict[str, Any]:
    from api.commands.submitting import submit

    return submit(Settings.from_environment(environment()), change, args)


def _reader() -> Any:
    from db import migrate
    from db.engine import open_reader

    url = Settings.from_environment(environment()).database_url
    migrate.check(url)
    return open_reader(url)


@click.group()
def client() -> None:
    """Who may call."""


@client.command("add")
@click.argument("name")
@click.option("--scope", required=True, help='Such as "predict predictions:read".')
@click.option(
    "--to", "file", type=click.Path(path_type=Path), help="Keep the secret in this new file, mode 0600."
)
def add_client(name: str, scope: str, file: Path | None) -> None:
    """Add a client and show its secret once."""
    from api.commands.setup import write_client

    if file is not None and file.exists():
        from api.refusals import CommandRefused

        raise CommandRefused(f"--to {file} exists; choose a new file")
    added = _submit("client.add", name=name, scope=scope)
    if file is not None:
        write_client(file, added)
        added.pop("client_secret")
        added["file"] = str(file)
    _print(added)


@client.command("list")
def list_clients() -> None:
    """List all clients; secrets are not kept and cannot be shown."""
    from api.commands.showing import rows, time_of
    from db import clients

    found = [
        (each.client_id, each.name, " ".join(sorted(each.scope)), time_of(each.disabled_at_us))
        for each in clients.listing(_reader())
    ]
    rows(("client_id", "name", "scope", "disabled"), found)


@client.command("disable")
@click.argument("client_id")
def disable_client(client_id: str) -> None:
    """Refuse a client from now on; its live tokens stop within seconds."""
    _print(_submit("client.disable", client_id=client_id))


@client.command("revoke")
@click.argument("client_id")
def revoke_client(client_id: str) -> None:
    """Void every token the client got so far, whoever has it; it may ask for new ones."""
    _print(_submit("client.revoke", client_id=client_id))


@client.command("keys")
@click.argument("client_id")
@click.option(
    "--jwks",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help='A JWK set of public keys, {"keys": []} for none.',
)
def put_keys(client_id: str, file: Path) -> None:
    """Let a client be known by these public keys (private_key_jwt), and by none it had before."""
    from api.bodies import read_json
    from api.problems import RequestRefused
    from api.refusals import CommandRefused

    try:
        jwks = read_json(file.read_bytes())
    except RequestRefused as refused:
        raise CommandRefused(f"--jwks {file} is not JSON: {refused}") from refused
    _print(_submit("client.keys", client_id=client_id, jwks=jwks))


@client.command("rotate")
@click.argument("client_id")
@click.option(
    "--previous-expires-in",
    "grace_s",
    type=DURATION,
    help="How long the secret before works: 90s, 24h, 7d. Without: until the next rotation.",
)
def rotate_client(client_id: str, grace_s: int | None) -> None:
    """Give a client a second secret and show it once; no more than the newest two are valid."""
    grace = {} if grace_s is None else {"previous_expires_in": grace_s}
    _print(_submit("client.rotate", client_id=client_id, **grace))


@click.group()
def model() -> None:
    """Which version answers."""


@model.command("list")
def list_models() -> None:
    """List all registered versions and the aliases that mean them."""
    from api.commands.showing import rows, time_of
    from api.engine.roster import Roster

    table = Roster(_reader()).read()
    found = [
        (
            each.model,
            each.version,
            ", ".join(table.aliases_of(each.model, each.version)),
            each.digest[:12],
            time_of(each.registered_at_us),
        )
        for each in table.versions.values()
    ]
    rows(("model", "version", "aliases", "digest", "registered"), found)


@model.command("register")
@click.argument("name")
@click.argument("version")
def register_version(name: str, version: str) -> None:
    """Bind a version of the store to its digest, for ever."""
    _print(_submit("model.register", model=name, version=version))


@model.command("promote")
@click.argument("name")
@click.argument("version")
@click.option("--alias", default="champion", show_default=True)
def promote_version(name: str, version: str, alias: str) -> None:
    """Let an alias mean this version from now on; it is loaded first, to be sure that it can be."""
    _print(_submit("model.promote", model=name, version=version, alias=alias))


@model.command("twin")
@click.argument("name")
@click.argument("version")
@click.argument("state", type=click.Choice(["on", "off"]))
def switch_twin(name: str, version: str, state: str) -> None:
    """Let the twin of VERSION of NAME answer again, once it has proved itself anew, or keep it from answering."""
    _print(_submit(f"twin.{state}", model=name, version=version))


@model.command("rollback")
@click.argument("name")
@click.option("--alias", default="champion", show_default=True)
def roll_back(name: str, alias: str) -> None:
    """Let an alias mean the version it meant before."""
    _print(_submit("model.rollback", model=name, alias=alias))


def _print(result: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(result))
