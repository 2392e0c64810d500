"""Schemathesis, all checks, all operations: in process and against the running server, no finding."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.app import create_door
from api.settings import Settings
from tests import auditor
from tests.conftest import DATABASES
from tests.service import Service, running

EXAMPLES = int(os.environ.get("ONRECORD_SOAK", "0")) or 20
# In the soak, too, with as many examples for each operation as there are crashes.
pytestmark = pytest.mark.soak
# A fixed seed in the suite, so that main stays green or red for everybody; the soak draws its own.
SEED = None if "ONRECORD_SOAK" in os.environ else 1


class OnOneLoop:
    """Runs a door on one event loop; a test client makes a new loop for every request, a server has one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),))
        self._thread.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answered = asyncio.run_coroutine_threadsafe(self._answer(scope, body), self._loop)
        for message in await asyncio.wrap_future(answered):
            await send(message)

    async def _answer(self, scope: Scope, body: bytes) -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent

    async def _live(self) -> None:
        """Run the door's start-up and, when asked, its shutdown."""
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> Message:
            message = next(messages)
            if message == "lifespan.shutdown":
                await self._ending.wait()
            return {"type": message}

        async def send(_message: Message) -> None: ...

        await self._app({"type": "lifespan"}, receive, send)

    def close(self) -> None:
        """Shut the door and end its loop."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """Run a service for these tests alone: they leave so many records that every later audit would take long."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    with running(short_folder / f"fuzzed-{request.param}", url) as service:
        yield service


@pytest.fixture
def door(service: Service) -> Iterator[OnOneLoop]:
    """Build a door in this process, on the keys, the engine and the database of the running service."""
    door = OnOneLoop(create_door(Settings.from_environment(service.environment)))
    yield door
    door.close()


def _token(service: Service) -> str:
    with service.caller("admin") as admin:
        return admin.http.headers["authorization"]


def test_no_finding_in_process(service: Service, door: OnOneLoop) -> None:
    """Every operation, called in process with good and bad data, answers as the contract says."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED or 0,
            "headers": {"Authorization": _token(service)},
            "generation": {"max-examples": EXAMPLES},
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", door, config=config)

    findings = list(_findings(from_schema(schema).execute()))

    assert not findings, "\n".join(findings)
    assert auditor.audit(service.database_url, {}) == []


def _findings(stream: Iterator[Any]) -> Iterator[str]:
    calls = 0
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            calls += len(event.recorder.interactions)
            for checks in event.recorder.checks.values():
                yield from (
                    f"{event.label}: {check.failure_info}"
                    for check in checks
                    if check.status == Status.FAILURE
                )
        elif isinstance(event, events.NonFatalError | events.FatalError):
            yield repr(event)
    if calls < 500:
        yield f"only {calls} calls were made"


def test_no_finding_against_the_running_server(service: Service, tmp_path: Path) -> None:
    """The same over a real socket, by schemathesis' own command line, all checks and phases."""
    token = _token(service)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", str(EXAMPLES), "--header", f"Authorization: {token}", "--no-color"),
            *([] if SEED is None else ["--seed", str(SEED)]),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert auditor.audit(service.database_url, {}) == []
