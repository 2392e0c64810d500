"""A verification that somebody started, seen from the machine it runs on: its process is found and stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.engines import wait_for
from tests.service import Caller, Service

PATH = "/v1/ledger/verifications"
PATIENCE_S = 120.0  # it runs after everybody else, and so may a whole suite


def process_of(service: Service) -> int | None:
    """Find the process that verifies for this service."""
    ours = f"ONRECORD_VAR={service.var}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
        except OSError:  # gone meanwhile
            continue
        if b"api.engine.verifier" in command and ours in environment.split(b"\0"):
            return int(place.name)
    return None


@contextmanager
def started_and_stopped(service: Service, admin: Caller) -> Iterator[tuple[dict[str, Any], int]]:
    """Start a verification and keep its process from going on, so that it runs for as long as the test wants."""
    pid = None
    while pid is None:  # again, where this test was kept waiting for so long that it is over
        answer = admin.http.post(PATH)
        assert answer.status_code == 202, answer.text
        pid = _stopped(service, admin, answer.json()["verification"])
    yield answer.json(), pid
    wait_for(lambda: process_of(service) is None, PATIENCE_S)


def _stopped(service: Service, admin: Caller, name: str) -> int | None:
    """Stop the process of a verification; None where it ended before that."""
    found: list[int | None] = []

    def is_there_or_over() -> bool:
        found.append(process_of(service))
        return found[-1] is not None or admin.http.get(f"{PATH}/{name}").json()["state"] != "running"

    wait_for(is_there_or_over, PATIENCE_S)
    if found[-1] is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(found[-1], signal.SIGSTOP)
        return found[-1]
    return None


def ended(admin: Caller, name: str) -> dict[str, Any]:
    """Wait until a verification runs no more and return what is shown of it."""
    found: list[dict[str, Any]] = []

    def has_ended() -> bool:
        answer = admin.http.get(f"{PATH}/{name}")
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        return bool(found[-1]["state"] != "running")

    wait_for(has_ended, PATIENCE_S)
    return found[-1]
