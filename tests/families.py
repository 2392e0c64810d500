"""Processes and what they started: who is killed is gone before anybody goes on, and what ends because of it, too.

A signal is on its way for a moment, in which a process can still answer, hold a lock or listen on a port.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

GONE_WITHIN_S = 60.0


def below(pid: int) -> Iterator[int]:
    """Walk every process that this one started, whichever of its threads did, and those that they started."""
    children: list[str] = []
    with contextlib.suppress(OSError):  # a thread, or all of it, is gone meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += (thread / "children").read_text().split()
    for child in map(int, children):
        yield child
        yield from below(child)


def is_alive(pid: int) -> bool:
    """Say whether a process still runs; a zombie does not, it only waits to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def group(leader: int) -> list[int]:
    """Name the living processes of a group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (place / "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == leader and state not in "ZX":
            found.append(int(place.name))
    return found


def knows(pid: int, variable: str) -> bool:
    """Say whether a process was started with this in its environment; False for one that is gone."""
    try:
        return variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """Kill -9 one process, and wait until it and all that it had started are gone."""
    family = [pid, *below(pid)]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, family)), GONE_WITHIN_S)


def wait_until(claim: Callable[[], bool], within_s: float) -> None:
    """Wait until a claim holds; fail when it does not come true in time."""
    until = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < until, f"it did not come true within {within_s} s"
        time.sleep(0.01)
