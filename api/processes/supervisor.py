"""The supervisor: keeps doors and engine alive, and takes them down in the right order.

All doors accept on one socket that the supervisor bound and keeps open, so a door that dies loses only the
calls it had. A pipe that only the supervisor could write to is every child's lifeline: when it closes, for
whatever reason, they drain and end, and none is left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from api.processes.watching import Watch
from api.refusals import REFUSED
from api.settings import Settings, environment_of

STEADY_S = 5.0  # who lived this long is restarted at once when it dies
MOST_PAUSE_S = 5.0
KILL_AFTER_S = 7.0  # beyond drain_s, and beyond what the engine's parent itself allows its child
LOOK_S = 0.5
log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Part:
    """One process that shall live: how to start it, and how it has fared."""

    name: str
    command: Sequence[str]
    descriptors: tuple[int, ...]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    starts: int = 0

    def start(self, environ: dict[str, str], now: float) -> None:
        """Start it deaf to Ctrl-C, which reaches the whole group: the supervisor stops the parts, in order."""
        # A blocked signal stays blocked in the child, through fork and exec.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own module
                self.command, env=environ, pass_fds=self.descriptors
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.started_at = now
        self.starts += 1

    def look(self, now: float) -> int | None:
        """Notice a death: return its exit code and set the time of the next start."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.process = None
        self.quick_deaths = self.quick_deaths + 1 if now - self.started_at < STEADY_S else 0
        pause = min(MOST_PAUSE_S, 0.1 * 2**self.quick_deaths) if self.quick_deaths else 0.0
        self.start_at = now + pause
        return code

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to it where it still lives."""
        if self.process is not None:
            self.process.send_signal(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a command adds: `tick` runs about twice a second, `changed` tells that the code is another one."""

    tick: Callable[[], None] = lambda: None
    changed: Callable[[], bool] = lambda: False


class Supervisor:
    """Runs the parts until told to stop."""

    def __init__(self, settings: Settings, listening: Sequence[socket.socket], *, with_engine: bool) -> None:
        self._settings = settings
        self._listening = listening
        self._lifeline, self._end = os.pipe()
        self._doors = [self._door(number) for number in range(1, settings.doors + 1)]
        self._engines = [self._engine()] if with_engine else []

    def _door(self, number: int) -> Part:
        sockets = [each.fileno() for each in self._listening]
        options = [word for descriptor in sockets for word in ("--fd", str(descriptor))]
        return Part(
            name=f"door {number}",
            command=[*_ONRECORD, "doors", *options, "--lifeline", str(self._lifeline)],
            descriptors=(*sockets, self._lifeline),
        )

    def _engine(self) -> Part:
        command = [*_ONRECORD, "engine", "--lifeline", str(self._lifeline)]
        return Part(name="engine", command=command, descriptors=(self._lifeline,))

    @property
    def _parts(self) -> list[Part]:
        return [*self._engines, *self._doors]

    def run(self, hooks: Hooks | None = None) -> int:
        """Keep every part alive until SIGTERM or SIGINT; return the exit code.

        A part that refuses its first start (exit code 2) ends everything: restarting does not cure a wrong setting.
        One that refuses a later start is tried again and again, because the others still have callers.
        """
        hooks = hooks or Hooks()
        environ = environment_of(self._settings)
        code = 0
        with Watch() as watch:
            while not watch.is_stopping and code == 0:
                now = time.monotonic()
                code = self._restart(environ, now)
                if hooks.changed():
                    log.info("code-changed")
                    self._stop()
                hooks.tick()
                watch.wait(self._until_next(now))
            self._close()
            self._stop()
        return code

    def _restart(self, environ: dict[str, str], now: float) -> int:
        for part in self._parts:
            code = part.look(now)
            if code is not None:
                log.error("part-died", name=part.name, code=code, again_in_s=round(part.start_at - now, 1))
                if code == REFUSED and part.starts == 1 and not self._settings.debug:
                    return REFUSED
            if part.process is None and now >= part.start_at:
                part.start(environ, now)
        return 0

    def _until_next(self, now: float) -> float:
        starts = [part.start_at - now for part in self._parts if part.process is None]
        return max(0.0, min([LOOK_S, *starts]))

    def _close(self) -> None:
        for each in self._listening:
            each.close()  # from here on nobody new is let in; the doors close theirs when they are told

    def _stop(self) -> None:
        """Doors first, because what they have taken still needs the engine."""
        for group in (self._doors, self._engines):
            for part in group:
                part.tell(signal.SIGTERM)
            until = time.monotonic() + self._settings.drain_s + KILL_AFTER_S
            for part in group:
                _wait(part, until)


_ONRECORD = (sys.executable, "-m", "api")


def _wait(part: Part, until: float) -> None:
    if part.process is None:
        return
    try:
        code = part.process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.warning("part-killed", name=part.name, reason="it did not end in time")
        part.tell(signal.SIGKILL)
        code = part.process.wait()
    log.info("part-ended", name=part.name, code=code)
    part.process = None
    part.start_at = part.quick_deaths = 0


class Edits:
    """Notices that code or contract was edited, by the times of their files; for developers."""

    def __init__(self, root: Path = Path(__file__).parent.parent.parent) -> None:
        self._root = root
        self._seen = self._times()

    def changed(self) -> bool:
        """Say whether a file is another one since the last time this was asked."""
        before, self._seen = self._seen, self._times()
        return before != self._seen

    def _times(self) -> dict[Path, int]:
        watched = (*self._root.glob("openapi/**/*.yaml"), *self._root.glob("api/**/*.*"))
        python = (path for room in ("db", "models") for path in self._root.glob(f"{room}/**/*.py"))
        return {path: path.stat().st_mtime_ns for path in (*watched, *python) if path.suffix != ".pyc"}
