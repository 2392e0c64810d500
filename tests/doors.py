"""The doors of a service, each of them asked: a connection belongs to one of them, and tells which."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import psutil

from tests.families import below
from tests.service import Caller, Service

FOLLOWED_WITHIN_S = 60.0  # doors look every two seconds; a busy machine may take longer


def until_every_door_refuses(service: Service, caller: Caller) -> None:
    """Wait until each door has refused the token of a caller; from then on it always does.

    Some refusals in a row are no proof: on a busy machine one door may take all connections for a while.
    """
    until = time.monotonic() + FOLLOWED_WITHIN_S
    waiting = set(_doors(service))
    assert waiting, "there is no door"
    while waiting:
        assert time.monotonic() < until, f"these doors did not refuse: {waiting}"
        with httpx.Client(base_url=service.url) as line:
            door = _taken_by(line.get("/health/live"), waiting)
            asked = line.get("/v1/models", headers={"Authorization": caller.http.headers["Authorization"]})
            if asked.status_code == 401:
                waiting.discard(door)


def _doors(service: Service) -> list[int]:
    assert service.process is not None
    own = (b"doors", b"--fd")
    return [pid for pid in below(service.process.pid) if set(own) <= set(_command(pid))]


def _command(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def _taken_by(answer: httpx.Response, doors: set[int]) -> int:
    """Name which of these doors has the connection; 0 where another one does."""
    _, port = answer.extensions["network_stream"].get_extra_info("client_addr")
    for door in doors:
        if any(
            each.raddr and each.raddr.port == port for each in psutil.Process(door).net_connections("tcp")
        ):
            return door
    return 0
