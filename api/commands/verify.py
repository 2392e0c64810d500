"""The command that audits the whole ledger, while the service runs or not, against a key and anchors from outside.

The exit code is the answer: 0 verified and anchored, 1 tampered with, 2 cannot be read (as for every refusal), 3
consistent, but nothing from outside says that this is the ledger that was there before, 130 interrupted.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api import times
from api.commands import freshness
from api.commands.freshness import DURATION
from api.refusals import CommandRefused
from api.settings import Settings, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.commands.witnessed import Asked
    from api.resuming import StateFile
    from db.audit import Progress
    from db.auditing import Anchor, Verdict
    from db.notes import VerifierKey

VERIFIED, TAMPERED, NOT_ANCHORED, INTERRUPTED = 0, 1, 3, 130
_DEADLINE_S = (
    600.0  # for one statement: counting ten million rows takes a while, and nobody waits for an answer
)
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
    settings = Settings.from_environment(environment())
    processes = given.pop("processes") or os.cpu_count() or 1
    outside = _outside(settings, **given)
    reached = _reached(state, outside)
    try:
        verdict = _audit(settings.database_url, outside, processes, reached)
        reached.flush()
    except KeyboardInterrupt:
        reached.flush()
        done = f": the first {reached.reached.size} records were sound; --state goes on from there"
        click.echo(f"interrupted{done if state else ''}", err=True)
        context.exit(INTERRUPTED)
    frozen = freshness.frozen(verdict.latest_us, fresh)
    code = TAMPERED if frozen else exit_code(verdict)
    if as_json:
        click.echo(_json(verdict, outside, code))
    else:
        _show(verdict, outside, code)
    if frozen:
        click.echo(frozen, err=as_json)
    context.exit(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outside:
    """What is believed because it does not come out of the database."""

    key: VerifierKey
    mac_key: bytes | None
    anchors: list[Anchor]
    witnesses: list[VerifierKey]
    asked: list[Asked]


def _outside(
    settings: Settings, *, key: Path | None, anchors: tuple[Path, ...], witnesses: tuple[str, ...]
) -> _Outside:
    from api.commands import witnessed

    pinned = _key(key or settings.var / "ledger.pub")
    read = list(map(witnessed.read, witnesses or map(str, settings.witnesses)))
    asked = list(witnessed.ask((at for _, at in read if at), _every_epoch(settings, pinned))) if read else []
    shown = [each.anchor for each in asked if each.anchor is not None]
    return _Outside(
        key=pinned,
        mac_key=_mac_key(settings),
        anchors=_anchors(settings, anchors) + shown,
        witnesses=[witness for witness, _ in read],
        asked=asked,
    )


def exit_code(verdict: Verdict) -> int:
    """Turn what was seen into the command's answer; an empty ledger has nothing that could be anchored."""
    if verdict.findings:
        return TAMPERED
    return VERIFIED if verdict.anchored else NOT_ANCHORED


def _every_epoch(settings: Settings, pinned: VerifierKey) -> list[VerifierKey]:
    """Name the ledger as witnesses know it, in each epoch so far and the next: it may have been rolled back."""
    from db import epochs, heads, migrate
    from db.engine import open_reader

    migrate.check(settings.database_url)
    reader = open_reader(settings.database_url)
    try:
        return [epochs.key_of(pinned, epoch) for epoch in range(heads.read(reader).epoch + 2)]
    finally:
        reader.dispose()


def _reached(path: Path | None, outside: _Outside) -> StateFile:
    from api.resuming import StateFile

    return StateFile(path, outside.key, outside.mac_key)


def _audit(url: str, outside: _Outside, processes: int, state: StateFile) -> Verdict:
    from db import migrate
    from db.audit import How, audit
    from db.engine import open_reader

    migrate.check(url)
    reader = open_reader(url, _DEADLINE_S)
    try:
        with _progress() as progress:
            return audit(
                reader,
                outside.key,
                outside.anchors,
                witnesses=outside.witnesses,
                mac_key=outside.mac_key,
                how=How(processes=processes, progress=progress, since=state.reached, keep=state.keep),
            )
    finally:
        reader.dispose()


def _key(path: Path) -> VerifierKey:
    from db.notes import NoteRefused, VerifierKey

    try:
        return VerifierKey.parse(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as refused:
        raise CommandRefused(
            f"--key {path} cannot be read ({refused}); run: python -m api setup"
        ) from refused
    except NoteRefused as refused:
        raise CommandRefused(f"--key {path} is no public key of a ledger: {refused}") from refused


def _anchors(settings: Settings, given: tuple[Path, ...]) -> list[Anchor]:
    from api.anchoring import read_anchor
    from db.auditing import Anchor

    files = given or tuple(path for path in (settings.anchor,) if path.exists())
    try:
        return [Anchor(source=str(path), note=note) for path in files for note in read_anchor(path)]
    except OSError as refused:
        raise CommandRefused(f"an anchor cannot be read: {refused}") from refused


def _mac_key(settings: Settings) -> bytes | None:
    """Take the key of the head's mac where it may be read; an auditor from outside has no business with it."""
    from api import keys

    try:
        return keys.read_mac_key(settings.var)
    except keys.KeyRefused:
        return None


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    # On stderr, so that a pipe gets the verdict alone; where that is no terminal, not even a line's end is drawn.
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("records", total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _json(verdict: Verdict, outside: _Outside, code: int) -> str:
    import json

    said: dict[str, Any] = asdict(verdict) | {"root": verdict.root.hex(), "exit_code": code}
    said["asked"] = [{"witness": each.name, "said": each.said} for each in outside.asked]
    return json.dumps(said, indent=2)


def _show(verdict: Verdict, outside: _Outside, code: int) -> None:
    from rich.console import Console

    out = Console(soft_wrap=True, highlight=False, emoji=False)
    for each in verdict.findings:
        where = "ledger" if each.at is None else f"record {each.at}"
        out.print(f"{where}: {each.cause}: {each.detail}", style="red", markup=False)
    if (more := verdict.found - len(verdict.findings)) > 0:
        out.print(f"and {more} more", style="red", markup=False)
    out.print(_headline(verdict), style="bold green" if code == VERIFIED else "bold red", markup=False)
    for line in (*_details(verdict), *(f"witness     {each.name} {each.said}" for each in outside.asked)):
        out.print(line, markup=False)


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
