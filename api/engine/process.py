"""The engine as processes: a small parent that has imported everything, and the engine it forks.

Importing scikit-learn takes longer than an outage may last. The parent pays for it once, before any thread
or event loop exists, and forks a fresh engine the moment the old one is gone. It does nothing else that
could fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvloop

from api.engine import pen
from api.engine.engine import Engine
from api.engine.opening import opened
from api.engine.roster import Roster
from api.processes.watching import STOPPING, Watch
from api.refusals import REFUSED, refusal_of
from api.settings import Settings
from db import migrate
from db.engine import StorageUnavailable, open_reader

PEN_WAIT_S = 3.0  # a command that just holds the pen puts it down sooner
NEW_OBJECTS = 50_000  # between two looks for cycles, as at a door: 700 are a fraction of one large request
SHORT_LIFE_S = 1.0
SHORT_LIVES = 5
KILL_AFTER_S = 5.0  # beyond drain_s
FAILED = 1
log = structlog.get_logger()


def run(settings: Settings, lifeline: int | None = None) -> None:
    """Be the engine until SIGTERM or until the lifeline's other end is gone; then drain and return.

    Raises:
        SchemaMismatch, StorageRefused, PenTaken, KeyRefused, LedgerForked: nothing was started.
    """
    migrate.check(settings.database_url)
    with pen.held(settings.var, PEN_WAIT_S), opened(settings) as ledger:
        roster = Roster(open_reader(settings.database_url))
        engine = Engine(settings, ledger, roster, lambda: time.time_ns() // 1000)
        uvloop.run(_serve(engine, settings.engine_socket, lifeline))


async def _serve(engine: Engine, path: Path, lifeline: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:

        def notice() -> None:
            loop.remove_reader(lifeline)
            stop.set()

        loop.add_reader(lifeline, notice)
    with _listening(path) as listening:
        await engine.run(listening, stop)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)  # left by an engine that was killed: whoever holds the pen is the only one
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # born with mode 0600: a chmod afterwards would leave a moment for others
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    try:
        yield listening
    finally:
        path.unlink(missing_ok=True)
        listening.close()


def hold(settings: Settings, lifeline: int | None = None) -> int:
    """Keep an engine alive until told to stop; return the exit code.

    An engine that dies is replaced at once. One that refuses to start (exit code 2), or dies within a second
    several times in a row, is not: its reason is in the log.

    Raises:
        SchemaMismatch, PenTaken: nothing was started.
    """
    _refuse_early(settings)
    from models import warming

    warming.warm()
    gc.collect()
    gc.freeze()  # what is imported stays on pages shared with every engine forked from here
    gc.set_threshold(NEW_OBJECTS)
    with Watch(lifeline) as watch:
        short_lives = 0
        while not watch.is_stopping:
            started = time.monotonic()
            code = _keep(*_fork(settings, watch), watch, settings.drain_s)
            if watch.is_stopping or code == REFUSED:
                return code if code >= 0 else FAILED
            short_lives = short_lives + 1 if time.monotonic() - started < SHORT_LIFE_S else 0
            log.error("engine-died", code=code, short_lives=short_lives)
            if short_lives >= SHORT_LIVES:
                return FAILED
            if short_lives:
                watch.wait(0.05 * 2**short_lives)
    return 0


def _refuse_early(settings: Settings) -> None:
    """Raise now what the engine would raise after seconds of imports; it looks again, this is only manners."""
    with contextlib.suppress(
        StorageUnavailable
    ):  # a database that is still starting is worth the engine's retries
        migrate.check(settings.database_url)
    with pen.held(settings.var, PEN_WAIT_S):
        pass


def _fork(settings: Settings, watch: Watch) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(read_end)
        return child, write_end
    os.close(write_end)
    watch.forget()
    code = FAILED
    try:
        run(settings, lifeline=read_end)
        code = 0
    except BaseException as raised:  # noqa: BLE001  # a forked child must never return into its parent's code
        code = _report(raised)
    finally:
        # Not sys.exit: a model that hangs in its thread would be waited for, and the parent's stack unwound.
        os._exit(code)


def _report(raised: BaseException) -> int:
    if isinstance(raised, StorageUnavailable):  # it may come back, so this is worth another start
        log.error("database-unavailable", reason=str(raised))
        return FAILED
    refusal = refusal_of(raised)
    if refusal is None:
        log.error("engine-broke", exc_info=raised)
        return FAILED
    refusal.show()
    return REFUSED


def _keep(child: int, lifeline: int, watch: Watch, drain_s: float) -> int:
    asked_at = None
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            os.close(lifeline)
            return os.waitstatus_to_exitcode(status)
        if watch.is_stopping and asked_at is None:
            os.kill(child, signal.SIGTERM)
            asked_at = time.monotonic()
        elif asked_at is not None and time.monotonic() - asked_at > drain_s + KILL_AFTER_S:
            os.kill(child, signal.SIGKILL)
        watch.wait(1.0 if asked_at is not None else None)
