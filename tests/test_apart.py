"""Engine, doors and nginx apart, each started as docker-compose.yml starts it and holding only what it gives them.

Commands, variables, configuration and database roles are those of the deployment files; only addresses are others.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.composed import ROOT, SERVICES, environment
from tests.postgres import Postgres, plain
from tests.postgres import _binaries as binaries
from tests.proxy import nginx, wait
from tests.service import READY_WITHIN_S, Caller, free_port

PASSWORDS = {
    name: "0" * 64 for name in ("ONRECORD_OWNER_PASSWORD", "ONRECORD_PEN_PASSWORD", "ONRECORD_DOOR_PASSWORD")
}
HEALTH = re.compile(r'^HEALTHCHECK .*CMD \["python", "-c", \\\n\s+"(.*)"\]$', re.MULTILINE)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Make a folder with a path short enough for a socket, which PostgreSQL's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="onrecord-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL that roles.sql has prepared; gives what follows the role in a URL."""
    with Postgres(folder / "pg") as server:
        server.execute("CREATE ROLE onrecord_owner SUPERUSER LOGIN")
        server.execute("CREATE DATABASE onrecord OWNER onrecord_owner")
        script = ["-v", "ON_ERROR_STOP=1", "-q", "-f", ROOT / "deploy/postgres/roles.sql"]
        owner = plain(server.url("onrecord", "onrecord_owner"))
        subprocess.run([binaries() / "psql", owner, *script], env=PASSWORDS, check=True, timeout=120)
        yield owner.partition("onrecord_owner")[2]


# --- roles -------------------------------------------------------------------------------------------------


def _sql(role: str, at: str, *statements: str) -> None:
    with psycopg.connect(f"postgresql://{role}{at}", autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(scope="module")
def table(address: str) -> str:
    """Make a table as a migration would, after the roles."""
    _sql("onrecord_owner", address, "CREATE TABLE made_later (n int)")
    return "made_later"


def test_the_pen_writes_rows_of_tables_made_later(address, table):
    """The engine needs no grant of a migration to do its work, nor do the doors."""
    _sql("onrecord_pen", address, f"INSERT INTO {table} VALUES (1)", f"UPDATE {table} SET n = 2")
    _sql("onrecord_door", address, f"SELECT n FROM {table}")


REFUSED = {
    "onrecord_pen": ["CREATE TABLE mine (n int)", "DROP TABLE {}", "TRUNCATE {}", "ALTER TABLE {} ADD m int"],
    "onrecord_door": [
        "INSERT INTO {} VALUES (1)",
        "UPDATE {} SET n = 3",
        "DELETE FROM {}",
        "CREATE TEMP TABLE m ()",
    ],
}


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role in REFUSED for each in REFUSED[role]])
def test_a_role_cannot_do_what_its_process_never_does(address, table, role, statement):
    """Neither changes tables, and the door changes no row, also once it has declared its session writable."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _sql(role, address, "SET default_transaction_read_only = off", statement.format(table))


# --- the service -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Apart:
    """The services of compose as processes of this machine, each with a var folder of its own."""

    folder: Path
    address: str

    def environment(self, service: str, **chosen: str) -> dict[str, str]:
        """Give a service the environment it has in compose, at this machine's addresses, and nothing else."""
        pairs = environment(service, **PASSWORDS, ONRECORD_FRONT_SUBNET="127.0.0.1/32", **chosen)
        here = {name: text.replace("/run/onrecord", str(self.folder)) for name, text in pairs.items()}
        here["DATABASE_URL"] = here["DATABASE_URL"].replace("@postgres/onrecord", self.address)
        image = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.image), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**image, **here, "ONRECORD_VAR": str(self.folder / service)}

    @property
    def image(self) -> Path:
        """Name the folder that is /app in a container."""
        return self.folder / "app"

    def make_image(self) -> None:
        """Copy what the Dockerfile copies, so that a file it forgets is missed here."""
        builder = (ROOT / "deploy/Dockerfile").read_text().split("\nFROM ")[1]
        for source, target in re.findall(r"^COPY (\w+) (\w+)$", builder, re.MULTILINE):
            shutil.copytree(ROOT / source, self.image / target, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(self.image, quiet=1)  # once, for all processes that run it

    def make_var_folders(self) -> None:
        """Mount the volumes: the doors get the keys of tokens, the engine those of the ledger and what is public."""
        for folder in ("setup", "engine", "doors", "ledger-keys", "door-keys", "engine/keys"):
            (self.folder / folder).mkdir(mode=0o700)
        for mount, volume in (
            ("setup/keys", "door-keys"),
            ("door-keys/ledger", "ledger-keys"),
            ("doors/keys", "door-keys"),
            ("engine/keys/ledger", "ledger-keys"),
            ("engine/ledger.pub", "setup/ledger.pub"),
        ):
            (self.folder / mount).symlink_to(self.folder / volume)

    def run(self, service: str) -> None:
        """Run a service to its end."""
        _, *arguments = SERVICES[service]["command"]
        env = self.environment(service)
        subprocess.run([sys.executable, *arguments], cwd=self.image, env=env, check=True, timeout=300)

    @contextmanager
    def running(self, service: str, port: int = 8080, **chosen: str) -> Iterator[subprocess.Popen[bytes]]:
        """Keep a service running for the length of a block; it must end well when it is told to."""
        command = [
            sys.executable,
            *(each.replace("8080", str(port)) for each in SERVICES[service]["command"][1:]),
        ]
        with (self.folder / f"{service}.log").open("ab") as log:
            env = self.environment(service, **chosen)
            process = subprocess.Popen(command, cwd=self.image, env=env, stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.terminate()
                assert process.wait(120) == 0, (self.folder / f"{service}.log").read_text()

    def caller(self, url: str) -> Caller:
        """Sign in as the client that setup made."""
        client = httpx.Response(200, content=(self.folder / "setup/clients/demo.json").read_bytes()).json()
        return Caller(url, client["client_id"], client["client_secret"])


@pytest.fixture(scope="module")
def apart(folder: Path, address: str) -> Iterator[Apart]:
    """Set up, and keep the engine running."""
    services = Apart(folder, address)
    services.make_image()
    services.make_var_folders()
    services.run("setup")
    (folder / "door-keys/ledger").unlink()  # mounted for setup only: the doors see an empty folder there
    with services.running("engine"):
        yield services


@pytest.fixture(scope="module", params=["", "/ml"])
def url(request: pytest.FixtureRequest, apart: Apart, folder: Path) -> Iterator[str]:
    """Run doors and nginx before them, for callers at the root and for callers behind a prefix."""
    prefix: str = request.param
    door = free_port()
    inner = folder / f"nginx{prefix.replace('/', '-')}"
    inner.mkdir()
    with nginx(inner, door) as port:
        outside = f"http://127.0.0.1:{port}{prefix}"
        with apart.running(
            "doors", door, ONRECORD_PUBLIC_URL=outside, ONRECORD_ROOT_PATH=prefix, ONRECORD_DOORS="2"
        ):
            wait(lambda: httpx.get(f"{outside}/health/ready", timeout=60).status_code == 200, READY_WITHIN_S)
            yield outside


@pytest.fixture
def caller(apart: Apart, url: str) -> Iterator[Caller]:
    """Sign in through nginx."""
    someone = apart.caller(url)
    with someone.http:
        yield someone


def test_a_prediction_made_through_nginx_is_found_again(caller):
    """Housing at age 50 is worth 24.901049, and the record says so under the id the caller was given."""
    answer = caller.predict("housing", {"age": 50, "reference": "apart"})
    (prediction,) = answer.json()["predictions"]

    assert answer.status_code == 201
    assert round(prediction["price"], 6) == 24.901049
    assert caller.http.get(f"/v1/predictions/{prediction['id']}").json()["id"] == prediction["id"]
    assert prediction["id"] in {found["id"] for found in caller.find(reference="apart")}


def test_links_lead_back_through_nginx(caller, url):
    """Where the record is said to be, the prefix is already in it, and so it is in the contract."""
    prefix = urllib.parse.urlsplit(url).path

    location = caller.predict("housing", {"age": 75}).headers["Location"]
    servers = httpx.get(f"{url}/openapi.json").json()["servers"]

    assert location.startswith(f"{prefix}/v1/records/")
    assert servers[0]["url"] == (prefix or "/")


def test_refusals_of_the_service_arrive_through_nginx_as_they_are(caller, url):
    """The proxy has nothing to add to a problem of the service, and the service has a type for it."""
    refused = caller.predict("housing", {"age": "old"})

    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/problem+json")
    assert refused.json()["errors"][0]["pointer"] == "/instances/0/age"
    assert httpx.get(f"{url}/v1/models").headers["WWW-Authenticate"].startswith("Bearer")


def test_csv_is_streamed_through_nginx(caller):
    """A search as CSV arrives whole and in lines."""
    caller.predict("housing", *({"age": age} for age in range(100)))

    with caller.http.stream("GET", "/v1/predictions", headers={"Accept": "text/csv"}) as answer:
        lines = list(answer.iter_lines())

    assert answer.headers["Content-Type"].startswith("text/csv")
    assert len(lines) > 100


def test_the_health_checks_of_the_containers_tell_well_from_ill(apart):
    """What compose runs in the engine, and the image in the doors, ends with 0 only while somebody answers."""
    engine = SERVICES["engine"]["healthcheck"]["test"][-1].replace("/run/onrecord", str(apart.folder))
    door = HEALTH.findall((ROOT / "deploy/Dockerfile").read_text())[0]

    def code(program: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, timeout=120, check=False
        ).returncode

    port = free_port()
    ill = code(door.replace("8080", str(port))), code(engine.replace("engine.sock", "nobody.sock"))
    with apart.running("doors", port):
        wait(lambda: code(door.replace("8080", str(port))) == 0, READY_WITHIN_S)

    assert (ill, code(engine)) == ((1, 1), 0)


def test_the_engine_held_no_key_but_the_ledger_s_and_left_nothing_behind(apart, url):
    """All this was answered while the engine's folder held its lock, its anchor and what compose mounts there."""
    engine = apart.folder / "engine"

    assert {each.name for each in engine.iterdir()} == {"pen.lock", "anchor.log", "ledger.pub", "keys"}
    assert [each.name for each in (engine / "keys").iterdir()] == ["ledger"]
