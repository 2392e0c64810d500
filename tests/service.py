"""The whole service as its users meet it: real processes, a real port, real tokens. Speaks in verbs of the domain."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import postgres
from tests.families import GONE_WITHIN_S, group, knows, wait_until

ROOT = Path(__file__).parent.parent
READY_WITHIN_S = 120.0  # a start takes three seconds; a machine that does ten things at once may take forty
PATIENCE_S = 120.0  # of a caller, whom a busy machine may keep waiting
# What `setup` makes depends on these settings; it is run for whoever has one of them.
_OF_SETUP = frozenset(
    {
        "ONRECORD_STORE",
        "ONRECORD_PUBLISHERS",
        "ONRECORD_ANCHOR",
        "ONRECORD_TOKEN_ALGORITHM",
        "ONRECORD_ISSUER",
        "ONRECORD_PUBLIC_FORMS",
    }
)


@functools.cache
def _ports() -> Iterator[int]:
    """Walk ports that the kernel gives to nobody who does not ask for them, each worker of a run its own."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = [port for port in range(10_000, lowest) if port % workers == worker]
    start = random.randrange(len(mine))  # another run on this machine begins elsewhere
    return itertools.cycle(mine[start:] + mine[:start])


def free_port() -> int:
    """Find a port that nobody listens on, and nobody else will find: it may stay unused for a while."""
    for port in _ports():
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable")


def nameless(answer: httpx.Response) -> dict[str, Any]:
    """Read a problem without the name of its request, which differs every time; its length does not."""
    content: dict[str, Any] = answer.json()
    assert len(content.pop("request_id")) == 16
    return content


@dataclass
class Caller:
    """A client with its token, who remembers every answer it got: what the auditor holds the service to."""

    url: str
    client_id: str
    client_secret: str
    seen: dict[str, bytes] = field(default_factory=dict)
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        self.sign_in()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def sign_in(self, scope: str | None = None) -> dict[str, Any]:
        """Get a token and use it from now on."""
        form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        pair = (self.client_id, self.client_secret)
        answer = httpx.post(f"{self.url}/oauth/token", data=form, auth=pair, timeout=PATIENCE_S)
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return dict(answer.json())

    def predict(self, model: str, *instances: Mapping[str, Any], **body: Any) -> httpx.Response:
        """Ask a model; a 201 is remembered byte for byte."""
        return self.send(model, json.dumps({"instances": list(instances), **body}).encode())

    def send(self, model: str, body: bytes, **headers: str) -> httpx.Response:
        """Send exact bytes to a model."""
        answer = self.http.post(
            f"/v1/models/{model}/predictions",
            content=body,
            headers={"Content-Type": "application/json", **headers},
        )
        if answer.status_code == 201:
            self.seen[answer.json()["record"]] = answer.content
        return answer

    def replay(self, name: str) -> httpx.Response:
        """Have a record, or the record of a prediction, replayed; a 201 is remembered byte for byte."""
        answer = self.http.post(f"/v1/predictions/{name}/replay", timeout=120)
        if answer.status_code == 201:
            self.seen[answer.json()["replay"]] = answer.content
        return answer

    def find(self, **query: Any) -> list[dict[str, Any]]:
        """Follow every page of a search."""
        found: list[dict[str, Any]] = []
        followed: set[str] = set()
        while True:
            answer = self.http.get("/v1/predictions", params=query)
            assert answer.status_code == 200, answer.text
            found += answer.json()["predictions"]
            if "next" not in answer.json():
                return found
            query["cursor"] = answer.json()["next"]
            assert query["cursor"] not in followed, "pages lead in a circle"
            followed.add(query["cursor"])


class Service:
    """One deployment under a folder: set up once, started and killed as often as a test likes."""

    def __init__(self, var: Path, database_url: str | None = None, **settings: str) -> None:
        self.var = var
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{settings.get('ONRECORD_ROOT_PATH', '')}"
        self.database_url = database_url or f"sqlite:///{var / 'onrecord.db'}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")},
            "ONRECORD_VAR": str(var),
            "DATABASE_URL": self.database_url,
            "ONRECORD_PORT": str(self.port),
            "ONRECORD_DOORS": "1",
            "ONRECORD_ALERTS_EVERY_S": "0",  # tests ask what nobody would: nothing is recorded but what they do
            "ONRECORD_FAILURES_PER_ADDRESS": "0",  # tests fail on purpose, all from one address
            **settings,
        }
        self.settings = frozenset(settings)
        self.root = ROOT
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python -m api …` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "api", *arguments],
            cwd=self.root,
            env=self.environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    def set_up(self) -> Service:
        """Create keys, database, versions and the two clients; where nothing differs, by copying what was made once."""
        self.var.mkdir(parents=True, exist_ok=True)
        if (self.var / "keys").exists() or _OF_SETUP & self.settings:
            self.command("setup")
        elif self.database_url == f"sqlite:///{self.var / 'onrecord.db'}":
            shutil.copytree(_made_once(), self.var, dirs_exist_ok=True)
        elif self.database_url.startswith("postgresql"):
            made = postgres.beside(self.database_url, "made_once")
            shutil.copytree(_made_once(made), self.var, dirs_exist_ok=True)
            postgres.create(self.database_url, template=postgres.name_of(made))
        else:
            self.command("setup")
        return self

    def start(self) -> Service:
        """Start everything and wait until a prediction could be answered."""
        self.spawn("serve")
        self.wait_until_ready()
        return self

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that keeps running, in a process group of its own."""
        with (self.var / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api", *arguments],
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def wait_until_ready(self) -> None:
        """Wait until all checks hold; say what the service said if they never do."""
        last = "no answer"
        until = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=2)
                last = answer.text
                if answer.status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {last}\n{self.log()[-4000:]}")

    def log(self) -> str:
        """Read all that the service said."""
        return (self.var / "log.txt").read_text(errors="replace")

    def stop(self) -> int:
        """End it kindly and say how it ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut would; none of them is left."""
        if self.process is not None:
            leader = self.process.pid
            if self.process.returncode is None:  # until then its number is nobody else's
                os.killpg(leader, signal.SIGKILL)
                self.process.wait()
            for left in self._left(leader):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
            wait_until(lambda: not self._left(leader), GONE_WITHIN_S)

    def _left(self, leader: int) -> list[int]:
        """Name what still runs of it: the number of a group that is gone may be another one's by now."""
        return [pid for pid in group(leader) if knows(pid, f"ONRECORD_VAR={self.var}")]

    def caller(self, name: str = "demo") -> Caller:
        """Sign in as one of the two clients that setup made."""
        client = json.loads((self.var / "clients" / f"{name}.json").read_text())
        return Caller(self.url, client["client_id"], client["client_secret"])


@functools.cache
def _made_once(database_url: str | None = None) -> Path:
    """Set up one deployment of each kind for all tests of this process; it takes as long as a dozen of tests."""
    folder = Path(tempfile.mkdtemp(prefix="onrecord-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if database_url is not None:
        postgres.create(database_url)
    Service(folder, database_url).command("setup")
    return folder


@contextlib.contextmanager
def running(var: Path, database_url: str | None = None, **settings: str) -> Iterator[Service]:
    """Set a service up and run it for the length of a block."""
    service = Service(var, database_url, **settings).set_up()
    try:
        yield service.start()
    finally:
        service.kill()
