"""The command line: `python -m api --help`. Each command imports what it needs when it runs, so that help is
quick.

What cannot work is refused in one red line with the setting, its value and the cure, exit code 2. A trace on
the terminal is a fault of this program.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import click

from api.commands.administration import client, model
from api.commands.anchor import anchor
from api.commands.epoch import epoch
from api.commands.erase import erase, hold
from api.commands.export import export
from api.commands.key import key
from api.commands.receipt import receipt
from api.commands.verify import verify
from api.commands.witness import witness
from api.settings import Settings, environment, table

NEW_OBJECTS = 50_000  # between two looks for cycles; at 700, they are a sixth of a start, and find nothing
LEVELS = click.Choice(["debug", "info", "warning", "error"])


class Commands(click.Group):
    """A group that turns refusals into one line."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command; say what was refused, let faults through."""
        try:
            return super().invoke(context)
        except Exception as raised:
            from api.refusals import REFUSED, refusal_of

            if (refusal := refusal_of(raised)) is None:
                raise
            refusal.show()
            context.exit(REFUSED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """OnRecord serves scikit-learn models over HTTP and never answers before the answer is on record."""
    gc.set_threshold(NEW_OBJECTS)


main.add_command(client)
main.add_command(key)
main.add_command(model)
main.add_command(anchor)
main.add_command(epoch)
main.add_command(erase)
main.add_command(export)
main.add_command(hold)
main.add_command(receipt)
main.add_command(verify)
main.add_command(witness)


def _chosen(**options: Any) -> Settings:
    return Settings.from_environment(environment(**options))


@main.command()
def setup() -> None:
    """Make everything a fresh machine needs; what is there stays."""
    from rich.console import Console

    from api.commands import setup as steps

    out = Console(soft_wrap=True, highlight=False)
    done = 0
    for line in steps.run(_chosen()):
        out.print(line, markup=False)
        done += 1
    if not done:
        out.print("nothing to do: everything is in place")


@main.command()
@click.option("--host", help="Address to listen on (ONRECORD_HOST).")
@click.option("--port", type=int, help="Port to listen on (ONRECORD_PORT).")
@click.option("--doors", type=int, help="Number of door processes (ONRECORD_DOORS).")
@click.option("--log-level", type=LEVELS, help="Least severe line of the log (ONRECORD_LOG_LEVEL).")
@click.option("--debug", is_flag=True, help="One door, full traces, restart when code or contract changes.")
@click.pass_context
def serve(context: click.Context, /, debug: bool, **options: Any) -> None:
    """Run doors and engine until Ctrl-C."""
    if debug:
        options |= {"debug": True, "doors": 1, "log_level": options["log_level"] or "debug"}
    context.exit(_supervise(_chosen(**options), with_engine=True))


@main.command()
@click.option("--host", help="Address to listen on (ONRECORD_HOST).")
@click.option("--port", type=int, help="Port to listen on (ONRECORD_PORT).")
@click.option("--doors", type=int, help="Number of door processes (ONRECORD_DOORS).")
@click.option("--log-level", type=LEVELS, help="Least severe line of the log (ONRECORD_LOG_LEVEL).")
@click.option("--fd", "descriptors", type=int, multiple=True, hidden=True)
@click.option("--lifeline", type=int, hidden=True)
@click.pass_context
def doors(
    context: click.Context, /, descriptors: tuple[int, ...], lifeline: int | None, **options: Any
) -> None:
    """Run only the doors: they need the keys, the engine's socket, and the database for reading."""
    settings = _chosen(**options)
    if not descriptors:
        context.exit(_supervise(settings, with_engine=False))
    from api import logs
    from api.processes import door as door_process

    logs.configure("door", settings.log_level, debug=settings.debug)
    door_process.run(settings, descriptors, lifeline)


@main.command()
@click.option("--log-level", type=LEVELS, help="Least severe line of the log (ONRECORD_LOG_LEVEL).")
@click.option("--lifeline", type=int, hidden=True)
@click.pass_context
def engine(context: click.Context, /, lifeline: int | None, **options: Any) -> None:
    """Run only the engine: it needs the store, the database, and no key that signs tokens."""
    from api.settings import calm_numeric_libraries

    calm_numeric_libraries()
    from api import logs
    from api.engine import process as engine_process

    settings = _chosen(**options)
    logs.configure("engine", settings.log_level, debug=settings.debug)
    context.exit(engine_process.hold(settings, lifeline))


@main.command()
def migrate() -> None:
    """Bring the database to the schema of this code."""
    from api.commands.sealing import seal
    from api.engine import pen
    from db import migrate as migrations

    chosen = _chosen()
    before = migrations.current(chosen.database_url)
    if before != migrations.head():
        with pen.held(chosen.var, wait_s=1.0):
            migrations.upgrade(chosen.database_url)
        click.echo(f"migrated from {before or 'nothing'} to {migrations.head()}")
    done = list(seal(chosen))
    for line in done:
        click.echo(line)
    if before == migrations.head() and not done:
        click.echo(f"nothing to do: the database is at {before}")


@main.command()
@click.option("--markdown", is_flag=True, help="As the README prints it.")
def settings(markdown: bool) -> None:
    """List every setting with its default and what it means."""
    from api.commands.showing import markdown_of, show

    if markdown:
        click.echo(markdown_of(table()))
    else:
        show(table())


@main.command()
@click.option("--client", "file", type=click.Path(path_type=Path), help="Default: <var>/clients/demo.json")
@click.option("--scope", help="Scopes wanted, with spaces between; default: all the client has.")
def token(file: Path | None, scope: str | None) -> None:
    """Print an access token for a client, asked of the running service."""
    from api.commands import token as token_command

    click.echo(token_command.token(_chosen(), file, scope))


def _supervise(chosen: Settings, *, with_engine: bool) -> int:
    from api import logs
    from api.commands.announcing import Announcement
    from api.processes import listening, supervisor

    logs.configure("supervisor", chosen.log_level, debug=chosen.debug)
    sockets = listening.bind(chosen.host, chosen.port)
    watched = supervisor.Edits() if chosen.debug else None
    hooks = supervisor.Hooks(
        tick=Announcement(chosen).tick, changed=watched.changed if watched else lambda: False
    )
    return supervisor.Supervisor(chosen, sockets, with_engine=with_engine).run(hooks)


if __name__ == "__main__":
    main(prog_name="python -m api")
