"""The commands that erase and that forbid it; each works while the service runs or not."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from api.refusals import CommandRefused
from api.settings import Settings, environment

if TYPE_CHECKING:
    from rich.progress import Progress

GROUNDS = (
    "consent-withdrawn", "data-subject-request", "retention", "legal-obligation", "court-order", "error", "other",
)  # fmt: skip
FIELDS = ("input", "output", "actor", "meta")
_DAY_US = 86_400_000_000
_VACUUM_S = 3600.0
_SELECT = ("record", "prediction", "reference", "client", "model", "older_than")


@click.command()
@click.option("--record", help="The id of one record.")
@click.option("--prediction", help="The id of one prediction; everything of its request goes.")
@click.option("--reference", help="All requests in which this reference stands.")
@click.option("--client", help="All requests of this client; with --reference only those.")
@click.option("--model", help="With --reference, only requests of this model.")
@click.option("--older-than", help="All requests older than so many days (400d) or than a time (RFC 3339).")
@click.option("--ground", type=click.Choice(GROUNDS), help="On what legal ground.")
@click.option("--reason", default="", help="In your words, for ever on record: nobody's personal data.")
@click.option(
    "--field", "fields", type=click.Choice(FIELDS), multiple=True, help="Default: input, output, meta."
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--under-six-months", is_flag=True, help="Let --older-than reach younger than 184 days.")
@click.option(
    "--vacuum", is_flag=True, help="Write the tables anew, so that no old bytes are left; service stopped."
)
@click.option(
    "--reapply", is_flag=True, help="Erase again what a restored backup brought back; service stopped."
)
def erase(*, vacuum: bool, reapply: bool, **asked: Any) -> None:
    """Erase what was predicted of whom, lawfully, in batches that are each on record; run it again to resume."""
    settings = Settings.from_environment(environment())
    select = {name: asked[name] for name in _SELECT if asked[name] is not None}
    if select:
        if asked["ground"] is None:
            raise CommandRefused(f"--ground is missing; choose from {', '.join(GROUNDS)}")
        _print(_erase(settings, _args(asked, select)))
    elif not vacuum and not reapply:
        raise CommandRefused(
            "say what to erase: --record, --prediction, --reference, --client or --older-than"
        )
    if reapply:
        _reapply(settings)
    if vacuum:
        _vacuum(settings)


def _args(asked: Mapping[str, Any], select: dict[str, str]) -> dict[str, Any]:
    alone = [name for name in select if name not in ("model", "client") or "reference" not in select]
    if len(alone) != 1 or alone == ["model"]:
        raise CommandRefused(
            f"one selection at a time: {', '.join(_SELECT)}; only --reference takes --model and --client"
        )
    if "older_than" in select:
        select["older_than"] = _time(select["older_than"])
    args: dict[str, Any] = {"select": select, "ground": asked["ground"], "reason": asked["reason"]}
    args |= {name: asked[name] for name in ("dry_run", "under_six_months") if asked[name]}
    return args | ({"fields": list(asked["fields"])} if asked["fields"] else {})


def _time(text: str) -> str:
    """Read a number of days, or a time."""
    from api import times

    if days := re.fullmatch(r"(\d{1,5})d", text):
        return times.text(time.time_ns() // 1000 - int(days[1]) * _DAY_US)
    try:
        return times.text(times.read_us(text))
    except (ValueError, TypeError) as refused:
        raise CommandRefused(
            f"--older-than {text} is neither days, such as 400d, nor a time with offset"
        ) from refused


def _erase(settings: Settings, args: dict[str, Any]) -> dict[str, Any]:
    """Erase batch after batch; what was done when this is interrupted is done, and on record."""
    from api.commands.submitting import submit

    total: dict[str, Any] = {
        "erasures": [],
        "records": 0,
        "predictions": 0,
        "held": {"records": 0, "holds": []},
    }
    holds: set[str] = set()
    with _progress() as bar:
        task = bar.add_task("records erased", total=None)
        while True:
            done = submit(settings, "erasure.add", args)
            total["erasures"] += [done["record"]] if "record" in done else []
            for name in ("records", "predictions"):
                total[name] += done[name]
            total["held"]["records"] += done["held"]["records"]
            holds |= set(done["held"]["holds"])
            bar.update(task, completed=total["records"])
            if "next" not in done:
                total["held"]["holds"] = sorted(holds)
                return total | {"dry_run": done["dry_run"]}
            args["after"] = done["next"]


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def _reapply(settings: Settings) -> None:
    from api.commands.submitting import reapply

    done = list(reapply(settings))
    for line in done or ["nothing to do: all that was erased is gone"]:
        click.echo(line)


def _vacuum(settings: Settings) -> None:
    from api.engine import pen
    from db import engine, migrate

    migrate.check(settings.database_url)
    with pen.held(settings.var, wait_s=1.0):
        engine.vacuum(settings.database_url, _VACUUM_S)
    click.echo("every table that content is erased from was written anew")


@click.group()
def hold() -> None:
    """What must not be erased."""


@hold.command("add")
@click.option("--record", help="One record.")
@click.option("--prediction", help="The record of one prediction.")
@click.option(
    "--reference", help="All requests with this reference, later ones too; only a hash of it is kept."
)
@click.option("--client", help="All requests of a client.")
@click.option("--model", help="All requests to a model.")
@click.option("--reason", required=True, help="In your words, for ever on record: nobody's personal data.")
@click.option("--until", help="When it ends by itself (RFC 3339); default: when it is lifted.")
def add_hold(reason: str, until: str | None, **asked: str | None) -> None:
    """Forbid that something is erased."""
    from api.commands.submitting import submit

    select = {name: value for name, value in asked.items() if value is not None}
    if len(select) != 1:
        raise CommandRefused(f"hold one thing at a time: {', '.join(f'--{name}' for name in asked)}")
    args = {"select": select, "reason": reason} | ({"until": until} if until else {})
    _print(submit(_settings(), "hold.add", args))


@hold.command("lift")
@click.argument("hold_id")
@click.option("--reason", required=True, help="In your words, for ever on record: nobody's personal data.")
def lift_hold(hold_id: str, reason: str) -> None:
    """Let what was held be erased again."""
    from api.commands.submitting import submit

    _print(submit(_settings(), "hold.lift", {"hold": hold_id, "reason": reason}))


@hold.command("list")
def list_holds() -> None:
    """List all holds, ended ones too."""
    from api.commands.showing import rows
    from api.holds import shown
    from db import holds, migrate
    from db.engine import open_reader

    url = _settings().database_url
    migrate.check(url)
    found = [shown(each, time.time_ns() // 1000) for each in holds.listing(open_reader(url))]
    columns = ("hold", "by", "active", "at", "until", "lifted_at", "reason")
    lines = [tuple(str(each.get(name, "")) for name in columns) for each in found]
    rows(columns, [(*line[:2], line[2].lower(), *line[3:]) for line in lines])


def _settings() -> Settings:
    return Settings.from_environment(environment())


def _print(result: Mapping[str, Any]) -> None:
    import json

    click.echo(json.dumps(result))
