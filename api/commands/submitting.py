"""How a command makes a change: through the engine where one runs, by its own hand where none does."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from api import asking
from api.engine import changes, pen
from api.engine.journal import journal_of
from api.engine.loading import Loading
from api.engine.opening import opened
from api.engine.plans import Change, ChangeRefused, Done, Sources
from api.engine.roster import Roster
from api.settings import Settings
from db import migrate
from db.engine import open_reader
from db.ledger import Ledger
from db.records import fields

COMMAND_LINE = "command-line"
WITHIN_S = 10.0
ANSWER_S = 120.0  # trying a version out takes two seconds, on a busy machine many times that
PAUSE_S = 0.1


def submit(
    settings: Settings, name: str, args: Mapping[str, Any], loading: Loading | None = None
) -> dict[str, Any]:
    """Make one change, durable and recorded, whether the service runs or not; return what it answers.

    Who makes several that try versions out gives its own `loading`, and lets it rest at the end.

    Raises:
        ChangeRefused: it cannot be made.
        PenTaken, NoEngine: somebody holds the pen but does not answer.
    """
    until = time.monotonic() + WITHIN_S
    while True:
        try:
            with pen.held(settings.var):
                return _by_hand(settings, name, args, loading)
        except pen.PenTaken:
            try:
                return _through_engine(settings, name, args)
            except (
                asking.NobodyListens
            ):  # the engine is just starting, or another command has the pen for a moment
                if time.monotonic() > until:
                    raise
        time.sleep(PAUSE_S)


def reapply(settings: Settings) -> Iterator[str]:
    """Erase again what a restored backup brought back, as the journal outside of it says; name each erasure.

    Raises:
        ChangeRefused: something of it is held.
        PenTaken: the service must not run.
    """
    journal = journal_of(settings)
    with pen.held(settings.var), _reading(settings) as reader, opened(settings, restoring=True) as ledger:
        for each, bits, ids in list(journal.undone(reader)):
            reason = f"erased before, by record {each.erasure}, and restored"
            args: dict[str, Any] = {"ground": each.ground, "reason": reason, "fields": list(fields(bits))}
            args["select"] = {"records": list(map(str, ids))}
            done = _perform(Loading(settings), ledger, reader, "erasure.add", args)
            yield f"erased {done.result['records']} records again, by record {done.record}"
        ledger.note()
        ledger.scrub()
        journal.keep(reader)


def _by_hand(settings: Settings, name: str, args: Mapping[str, Any], given: Loading | None) -> dict[str, Any]:
    loading = given or Loading(settings)
    with _reading(settings) as reader, opened(settings) as ledger:
        try:
            done = _perform(loading, ledger, reader, name, args)
        finally:
            if given is None:
                loading.rest()
        ledger.note()
        if name == "erasure.add" and done.record is not None:
            ledger.scrub()
            journal_of(settings).keep(reader)
        return done.result


@contextmanager
def _reading(settings: Settings) -> Iterator[Any]:
    migrate.check(settings.database_url)
    reader = open_reader(settings.database_url)
    try:
        yield reader
    finally:
        reader.dispose()


def _perform(loading: Loading, ledger: Ledger, reader: Any, name: str, args: Mapping[str, Any]) -> Done:
    sources = Sources(
        table=Roster(reader).read(),
        loading=loading,
        reader=reader,
        hold_key=ledger.hold_key,
    )
    change = Change(name=name, args=args, actor=actor(), now_us=time.time_ns() // 1000)
    return changes.perform(ledger, change, changes.plan(change, sources))


def _through_engine(settings: Settings, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    head = {"do": "change", "name": name, "args": dict(args), "actor": actor()}
    answer = asking.ask(settings.engine_socket, head, within_s=ANSWER_S)
    content: dict[str, Any] = orjson.loads(answer.body)
    if answer.head["status"] != 200:
        raise ChangeRefused(content["type"].rpartition("/")[2], content["detail"])
    return content


def actor() -> dict[str, str]:
    """Name who types: the account of this machine, which no token vouches for."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run under numbers that have no name
        user = str(os.getuid())
    return {"client_id": COMMAND_LINE, "user": user}
