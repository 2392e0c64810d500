"""The command that audits the whole ledger, while the service runs or not, against a key and anchors from outside.

The exit code is the answer: 0 verified and anchored, 1 tampered with, 2 cannot be read (as for every refusal), 3
consistent, but nothing from outside says that this is the ledger that was there before, 130 interrupted.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api import times
from api.commands import freshness, noting
from api.commands.freshness import DURATION
from api.outside import (
    INTERRUPTED,
    TAMPERED,
    VERIFIED,
    Outside,
    audited,
    exit_code,
    outside,
    state_file,
    told,
)
from api.settings import Settings, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from db.audit import Progress
    from db.auditing import Verdict

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--key", type=_FILE, help="The public key you have pinned. Default: <var>/ledger.pub")
@click.option(
    "--anchor",
    "anchors",
    type=_FILE,
    multiple=True,
    help="Checkpoints kept outside: an anchor file or a signed note; may be repeated. Default: ONRECORD_ANCHOR",
)
@click.option(
    "--processes", type=click.IntRange(1, 256), help="How many processes read. Default: one for each core."
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    help="A witness: its key, to check what is stored, or <url>=<key>, to ask it too. Default: ONRECORD_WITNESSES",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep there how far it came, and go on from there: after Ctrl-C, or with what is new since. "
    "What an earlier run found sound is not read again.",
)
@click.option("--fresh", type=DURATION, help="Fail if the newest record is older: 90s, 30m, 2h, 1d.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for other programs.")
@click.pass_context
def verify(
    context: click.Context, /, fresh: int | None, state: Path | None, as_json: bool, **given: Any
) -> None:
    """Check every record, and that nothing was changed, removed or added: exit code 0, 1, 2 or 3."""
    settings, started_at_us = Settings.from_environment(environment()), time.time_ns() // 1000
    processes = given.pop("processes") or os.cpu_count() or 1
    known = outside(settings, **given)
    reached = state_file(state, known)
    try:
        with _progress() as progress:
            verdict = audited(settings.database_url, known, processes, reached, progress)
        reached.flush()
    except KeyboardInterrupt:
        reached.flush()
        done = f": the first {reached.reached.size} records were sound; --state goes on from there"
        click.echo(f"interrupted{done if state else ''}", err=True)
        context.exit(INTERRUPTED)
    frozen = freshness.frozen(verdict.latest_us, fresh)
    code = TAMPERED if frozen else exit_code(verdict)
    noted = noting.note(settings, started_at_us, told(verdict, known))
    if as_json:
        click.echo(_json(verdict, known, code, noted))
    else:
        _show(verdict, known, code, noted)
    if frozen:
        click.echo(frozen, err=as_json)
    context.exit(code)


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    # On stderr, so that a pipe gets the verdict alone; where that is no terminal, not even a line's end is drawn.
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("records", total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _json(verdict: Verdict, known: Outside, code: int, noted: str | None) -> str:
    import json

    said: dict[str, Any] = asdict(verdict) | {"root": verdict.root.hex(), "exit_code": code}
    said["asked"] = [{"witness": each.name, "said": each.said} for each in known.asked]
    said["verification"] = noted
    return json.dumps(said, indent=2)


def _show(verdict: Verdict, known: Outside, code: int, noted: str | None) -> None:
    from rich.console import Console

    out = Console(soft_wrap=True, highlight=False, emoji=False)
    for each in verdict.findings:
        where = "ledger" if each.at is None else f"record {each.at}"
        out.print(f"{where}: {each.cause}: {each.detail}", style="red", markup=False)
    if (more := verdict.found - len(verdict.findings)) > 0:
        out.print(f"and {more} more", style="red", markup=False)
    out.print(_headline(verdict), style="bold green" if code == VERIFIED else "bold red", markup=False)
    for line in (*_details(verdict), *(f"witness     {each.name} {each.said}" for each in known.asked)):
        out.print(line, markup=False)
    if noted is not None:
        out.print(f"on record   as verification {noted}", markup=False)


def _headline(verdict: Verdict) -> str:
    ledger = f"{verdict.records} records, root {verdict.root.hex()}"
    if verdict.findings:
        first = verdict.findings[0]
        where = "" if first.at is None else f", first at record {first.at}"
        return f"TAMPERED WITH: {verdict.found} findings{where} ({first.cause}); {ledger}"
    if not verdict.anchored:
        return f"consistent, NOT anchored: {ledger}; a rollback would look the same"
    return f"verified: {ledger}, anchored up to {verdict.anchored}"


def _details(verdict: Verdict) -> Iterator[str]:
    yield f"key         {verdict.key_id}"
    yield f"signed      {verdict.notes} stored checkpoints, the largest of {verdict.signed} records"
    for source, count in verdict.anchors.items():
        yield f"anchor      {count} checkpoints from {source}"
    for seen in verdict.witnesses:
        if seen.name and seen.count:
            at = times.text(seen.at_s * 1_000_000)
            largest = f"the largest of {seen.size} records at {at}"
            yield f"cosigned    {seen.count} stored checkpoints by {seen.name}, {largest}"
        elif seen.name:
            yield f"cosigned    no stored checkpoint by {seen.name}"
        else:
            yield f"not checked {seen.count} cosignatures of witnesses whose keys were not given (--witness)"
    yield from _losses(verdict)
    yield f"newest      record is {freshness.shown(verdict.latest_us)}"
    if verdict.since:
        yield f"since       the first {verdict.since} records were found sound by an earlier run, not by this one"
    yield f"payloads    {verdict.payloads}, with {verdict.predictions} rows of lookups"
    if not verdict.is_mac_checked:
        yield "not checked the mac of the head: its key cannot be read here"


def _losses(verdict: Verdict) -> Iterator[str]:
    from db.auditing_epochs import lost

    for each in lost(verdict):
        at = times.text(each.at_us)
        known = max([each.known_size, *each.evidence.values()])
        yield f"LOST        records {each.size} to {known - 1} with epoch {each.number}, declared by {each.by} at {at}"
        yield f"            reason: {each.reason}"
        for source, size in each.evidence.items():
            yield f"            {source} shows that there were {size}"
