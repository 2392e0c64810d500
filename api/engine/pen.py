"""The pen: the right to write, held by one process per var folder for as long as it lives.

A lock on a file, because the kernel takes it back from whoever dies, however it dies. It does not reach other
hosts: on PostgreSQL those queue on the head row of the ledger, and SQLite must not be shared between hosts.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE_S = 0.02


class PenTaken(Exception):
    """Another process writes to this var folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is locked: another engine or command writes here; stop it, or ask again")


class VarMissing(Exception):
    """There is no var folder, so nothing was set up."""

    def __init__(self, var: Path) -> None:
        super().__init__(f"ONRECORD_VAR={var} is no folder; run: python -m api setup")


@contextmanager
def held(var: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the pen; wait up to `wait_s` for whoever is just putting it down.

    Raises:
        PenTaken: someone else still holds it.
        VarMissing: the folder is not there.
    """
    if not var.is_dir():
        raise VarMissing(var)
    path = var / "pen.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + wait_s
        while not _locked(descriptor):
            if time.monotonic() >= until:
                raise PenTaken(path)
            time.sleep(PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
