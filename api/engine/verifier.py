"""The process of a verification: `python -m api.engine.verifier everything`, or `new`; gone when the engine is.

The engine starts it. It has the settings of the engine in its environment and does what `python -m api verify` does,
with one process and after everybody else; of what is `new`, from where the last one ended that found nothing wrong.
Standard output gets a line of JSON now and then, `{"checked", "size"}`, and a last one with what was found, or why
nothing could be.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from threading import Thread
from typing import Any

import orjson

from api.outside import UNREADABLE, audited, last_sound, outside, told
from api.refusals import CommandRefused, refusal_of
from api.settings import Settings, environment
from db.packing import NICENESS

EVERY_S = 0.5  # a line of progress


def main() -> None:
    """Be the process."""
    Thread(target=_follow, daemon=True).start()
    # A group of its own, or Ctrl-C would reach it; not a session, in which Linux (sched_autogroup) would weigh its low
    # priority against nobody but itself.
    os.setpgrp()
    os.nice(NICENESS)
    try:
        ended = verified(Settings.from_environment(environment()), sys.argv[1])
    except Exception as raised:
        if (refusal := refusal_of(raised)) is None:
            raise  # a fault of ours: the trace goes to the engine's log, the exit code says that there is no verdict
        ended = {"exit_code": UNREADABLE, "detail": refusal.line}
    _tell({"ended": ended})


def _follow() -> None:
    """End with the engine, however that ended: it holds the other end of standard input."""
    while os.read(0, 1):  # not sys.stdin: a thread that waits there is a fatal error when the process ends
        pass
    os._exit(1)


def verified(settings: Settings, of: str) -> dict[str, Any]:
    """Verify everything, or what is new, telling how far it is, and return what was found."""
    known = outside(settings)
    state = last_sound(settings, known, is_believed=of == "new")
    told_at = float("-inf")

    def progress(checked: int, size: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= EVERY_S:
            told_at = time.monotonic()
            _tell({"checked": checked, "size": size})

    verdict = audited(settings.database_url, known, 1, state, progress)
    if verdict.findings:
        state.forget()  # or the next one could call what is new intact, and be taken for better news
    else:
        with suppress(CommandRefused):  # not written: the next one reads again what this one read
            state.flush()
    return told(verdict, known)


def _tell(said: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
