"""Schemathesis, all checks, all operations: in process and against the running server, no finding."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import contract
from api.app import create_door
from api.settings import Settings
from tests import auditor, fuzzing
from tests.conftest import DATABASES
from tests.service import ROOT, Caller, Service, running

EXAMPLES = int(os.environ.get("ONRECORD_SOAK", "0")) or 6
# In the soak, too, with as many examples for each operation as there are crashes.
pytestmark = pytest.mark.soak
# A replay imports scikit-learn: two seconds, on a busy machine many times that, and no finding.
PATIENT = {"ONRECORD_REPLAY_DEADLINE_S": "120", "ONRECORD_ANSWER_DEADLINE_S": "120"}
PATIENCE_S = 150
# A fixed seed in the suite, so that main stays green or red for everybody; the soak draws its own.
SEED = None if "ONRECORD_SOAK" in os.environ else 1


def on(database: str) -> pytest.MarkDecorator:
    """Fuzz on one kind of database; the other is the next test's, and in the soak each has both."""
    chosen = DATABASES if SEED is None else (database,)
    return pytest.mark.parametrize("service", chosen, indirect=True, scope="module")


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
        if b"content-length" not in dict(scope["headers"]):
            # Whoever sends over a socket says so; the test client does not, for a form that is left without a field.
            length = (b"content-length", str(len(body)).encode())
            scope = {**scope, "headers": [*scope["headers"], length]}

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


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """Run a service for these tests alone: they leave so many records that every later audit would take long."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    with running(short_folder / f"fuzzed-{request.param}", url, **PATIENT) as service:
        yield service


@pytest.fixture
def door(service: Service) -> Iterator[OnOneLoop]:
    """Build a door in this process, on the keys, the engine and the database of the running service."""
    # The test client of starlette, which schemathesis calls it with, has a Host of its own.
    chosen = service.environment | {"ONRECORD_HOSTS": "testserver, localhost"}
    door = OnOneLoop(create_door(Settings.from_environment(chosen)))
    yield door
    door.close()


@dataclass(frozen=True)
class Identities:
    """Who fuzzes: everything at once, an ordinary caller beside a neighbour, and a client that may do nothing here."""

    admin: str
    demo: str
    neighbour: str
    bystander: str


@pytest.fixture(scope="module")
def identities(service: Service) -> Iterator[Identities]:
    """Sign in as each, and name them to tests/fuzzing.py; all but admin and demo are clients made for this."""
    callers = [service.caller("admin"), service.caller("demo")]
    made = {
        "neighbour": "predict predictions:read models:read",
        "bystander": "introspect",
        "instead": "predict",
    }
    for name, scope in made.items():
        added = json.loads(service.command("client", "add", name, "--scope", scope).stdout)
        callers.append(Caller(service.url, added["client_id"], added["client_secret"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONRECORD_FUZZERS", " ".join(each.client_id for each in callers))
        yield Identities(*(each.http.headers["authorization"] for each in callers[:-1]))
    for each in callers:
        each.http.close()


# Whether an alias may be moved, or a client's keys be replaced, depends on what is there at that moment, which no
# schema can say: 412 and 428 are right answers to well-formed requests; and whether a prediction's model could have
# answered what is reported of it, 422; and how many verifications were started in this minute, 429. All others are held
# to schemathesis' own lists.
_CONDITIONAL = """
[[operations]]
include-operation-id = ["aliases.promote", "clients.put_keys"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "428"]

[[operations]]
include-operation-id = ["outcomes.put"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "428"]

[[operations]]
include-operation-id = ["verifications.create"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "429"]
"""


def _run(service: Service, folder: Path, examples: int, config: str, *options: str) -> None:
    (folder / "schemathesis.toml").write_text(config + _CONDITIONAL)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
            *("run", f"{service.url}/openapi.json", "--checks", "all"),
            *(
                "--phases",
                "examples,coverage,fuzzing,stateful",
                "--max-examples",
                str(examples),
                "--no-color",
            ),
            *("--request-timeout", str(PATIENCE_S)),
            *options,
            *([] if SEED is None else ["--seed", str(SEED)]),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.fuzzing"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert auditor.audit(service.database_url, {}) == []


@on("sqlite")
def test_no_finding_in_process(service: Service, identities: Identities, door: OnOneLoop) -> None:
    """Every operation, called in process with good and bad data, answers as the contract says."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED or 0,
            "headers": {"Authorization": identities.admin},
            "generation": {"max-examples": EXAMPLES if SEED is None else 2 * EXAMPLES},
            "request-timeout": PATIENCE_S,
            # What covers every keyword, and is always the same, and what follows from what, the test against the
            # running server asks; in the soak, this one does, too. Here twice as much is drawn instead.
            "phases": {"coverage": {"enabled": SEED is None}, "stateful": {"enabled": SEED is None}},
            **tomllib.loads(_CONDITIONAL),
        }
    )
    assert fuzzing.before_call  # its import has told schemathesis
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


@on("postgresql")
def test_no_finding_against_the_running_server(
    service: Service, identities: Identities, tmp_path: Path
) -> None:
    """The same over a real socket, by schemathesis' own command line, all checks and phases, with every scope."""
    _run(service, tmp_path, EXAMPLES, "", "--header", f"Authorization: {identities.admin}")


@on("postgresql")
def test_neighbours_do_not_see_each_other(service: Service, identities: Identities, tmp_path: Path) -> None:
    """Two ordinary callers fuzz side by side; whatever one of them may read of its own, the other may not."""
    entries = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": token}]}
        for name, token in (("demo", identities.demo), ("neighbour", identities.neighbour))
    ]
    (tmp_path / "identities.json").write_text(json.dumps({"auth": entries}))

    _run(
        service,
        tmp_path,
        EXAMPLES // 3,
        '[auth.wfc]\npath = "identities.json"\npeers = ["demo", "neighbour"]\n',
    )


@on("sqlite")
def test_who_has_no_scope_gets_nowhere(service: Service, identities: Identities, tmp_path: Path) -> None:
    """A valid token without a scope is 403 on everything that is not public, and finds no other way in."""
    document = httpx.get(f"{service.url}/openapi.json").json()
    for path, method, operation in contract.operations(document):
        if operation["security"]:
            answer = httpx.request(
                method,
                service.url + re.sub(r"\{\w+\}", "x", path),
                headers={"Authorization": identities.bystander},
            )
            assert answer.status_code == 403, (method, path)

    # What lies behind a 403 is not reached, so nothing follows from anything, and few examples show as much as many.
    token = f"Authorization: {identities.bystander}"
    _run(service, tmp_path, 1, "", "--header", token, "--phases", "examples,coverage")
