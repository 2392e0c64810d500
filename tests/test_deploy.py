"""The deployment files say what they must: who holds what, which commands run, what is in the image."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml

from api import guard, settings
from api.hosts import Hosts
from api.operations import BODY_DEADLINE_S
from api.problems import PROBLEMS
from api.processes.connection import HEAD_DEADLINE_S
from tests.composed import COMPOSE, OURS, ROOT, SERVICES, environment, mounts
from tests.proxy import BODY_LIMIT, CONF

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
DEFAULTS = {each.variable: each.default for each in settings.table()}
# Problems that only a proxy can have; the table of the service may know them, and then the words are the same.
ONLY_NGINX = {"too-many-connections", "unavailable"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name):
    """Each service runs as a numbered user other than root, on a read-only root, without capabilities, bounded."""
    service = SERVICES[name]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] == ("no" if name == "setup" else "unless-stopped")
    assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"}
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("name", OURS)
def test_no_volume_hides_code(name):
    """Below /app only /app/var is mounted, so that contract, code and shipped models are those of the image."""
    targets = [*mounts(name), *(each.split(":")[0] for each in SERVICES[name]["tmpfs"])]

    assert [
        each for each in targets if f"{each}/".startswith("/app/") and not f"{each}/".startswith("/app/var/")
    ] == []


def test_the_engine_cannot_make_a_token_and_the_doors_cannot_write():
    """The doors' keys are not mounted in the engine, nor its keys in the doors; each knows its own password only."""
    secrets = {name: set(re.findall(r"secret-of-\w+", str(environment(name)))) for name in OURS}

    assert "door-keys" not in mounts("engine").values()
    assert "engine-keys" not in mounts("doors").values()
    assert "clients" not in {*mounts("engine").values(), *mounts("doors").values()}
    assert secrets == {
        "setup": {"secret-of-ONRECORD_OWNER_PASSWORD"},
        "engine": {"secret-of-ONRECORD_PEN_PASSWORD"},
        "doors": {"secret-of-ONRECORD_DOOR_PASSWORD"},
    }
    assert "environment" not in SERVICES["nginx"]


def test_only_nginx_is_published_and_nothing_else_reaches_out():
    """One service has a port and a way out of the machine; engine, doors and database sit on internal networks."""
    outside = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}

    assert {"nginx"} == {name for name, service in SERVICES.items() if "ports" in service}
    assert {"nginx"} == {name for name, service in SERVICES.items() if outside & set(service["networks"])}
    assert not set(SERVICES["nginx"]["networks"]) & set(SERVICES["engine"]["networks"])


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_compose_is_one_that_the_service_knows_and_accepts(name):
    """A variable that is misspelt or refused is found here, not in production."""
    chosen = environment(name)

    assert chosen.keys() <= {each.variable for each in settings.table()}
    assert settings.Settings.from_environment(chosen).database_url == chosen["DATABASE_URL"]


def test_the_example_of_env_names_every_variable_that_compose_reads():
    """Whoever copies .env.example sees every choice there is, and no other."""
    example = (ROOT / ".env.example").read_text()
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))

    assert read == set(re.findall(r"^#?(ONRECORD_\w+)=", example, re.MULTILINE))


@pytest.mark.parametrize("name", OURS)
def test_the_grace_to_stop_is_longer_than_the_drain(name):
    """Nobody is killed while requests are being answered, nor before the supervisor has given up itself."""
    from api.processes.supervisor import KILL_AFTER_S

    longest = settings.Settings.from_environment({}).drain_s + KILL_AFTER_S

    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > longest


def _commands() -> dict[str, list[str]]:
    """Collect every command line of the deployment that starts our program."""
    pod = next(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    found = {f"kubernetes {each['name']}": each["command"] for each in containers if each["name"] != "keys"}
    found |= {f"compose {name}": SERVICES[name]["command"] for name in OURS}
    return found | {"Dockerfile": json.loads(re.findall(r"^CMD (\[.*\])", DOCKERFILE, re.MULTILINE)[-1])}


@pytest.mark.parametrize("where", _commands())
def test_every_command_is_one_of_the_program(where):
    """The program knows the command and each of its options: it prints their help."""
    python, *arguments = _commands()[where]

    ran = subprocess.run(
        [sys.executable, *arguments, "--help"], cwd=ROOT, capture_output=True, timeout=60, check=False
    )

    assert (python, ran.returncode, ran.stderr) == ("python", 0, b"")


def test_kubernetes_separates_the_same_things():
    """In the Pod, too, engine and doors share a socket and neither a key nor a database role."""
    pod = next(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text()))["spec"]["template"]["spec"]
    parts = {each["name"]: each for each in [*pod["initContainers"], *pod["containers"]]}
    mounted = {name: {each["name"] for each in part["volumeMounts"]} for name, part in parts.items()}
    roles = {name: parts[name]["env"][0]["valueFrom"]["secretKeyRef"]["key"] for name in ("engine", "doors")}

    assert {"socket"} == mounted["engine"] & mounted["doors"]
    assert not mounted["engine"] & {"door-keys", "secret"}
    assert roles == {"engine": "pen", "doors": "door"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert all(part["securityContext"]["readOnlyRootFilesystem"] for part in parts.values())
    assert pod["terminationGracePeriodSeconds"] > settings.Settings.from_environment({}).drain_s


def _stages() -> list[str]:
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def test_the_image_runs_without_root_and_without_tools_to_build():
    """The last stage starts from a slim Python, installs nothing, copies only what was built, and leaves root."""
    final = _stages()[-1]
    directives = [line for line in final.splitlines() if not line.startswith("#")]

    assert "ARG PYTHON=python:3.13-slim\n" in DOCKERFILE
    assert not re.search(r"\b(apt|apt-get|apk|pip|gcc|make|curl|wget|git)\b", "\n".join(directives))
    assert all("--from=builder" in line for line in directives if line.startswith("COPY"))
    assert (
        re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)[0].split()[1] == SERVICES["doors"]["user"]
    )
    assert {"WORKDIR /app", "VOLUME /app/var", "STOPSIGNAL SIGTERM"} <= set(directives)
    assert "PYTHONPATH=/app" in final
    assert "http://127.0.0.1:8080/health/ready" in final


def test_the_image_holds_the_five_rooms_and_what_requirements_name():
    """Code goes in by name, libraries by hash; what is copied exists and is not ignored on its way."""
    builder = _stages()[0]
    copied = re.findall(r"^COPY (\S+) ", builder, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split("\n")

    assert copied == ["requirements.txt", "openapi", "api", "models", "db", "migrations"]
    assert all((ROOT / name).exists() and f"!{name}" in ignored for name in copied)
    assert {"*", "**/.env*", "**/var"} <= set(ignored)
    assert "install --require-hashes -r /requirements.txt" in builder


def _directive(name: str) -> str:
    """Find the one value a directive of nginx.conf has."""
    (value,) = re.findall(rf"^\s*{name}\s+([^;]+);", CONF, re.MULTILINE)
    return value


def test_the_limits_of_nginx_are_those_of_the_service():
    """Nginx refuses no body the service would read, and waits longer than the service waits for a model."""
    default = settings.Settings.from_environment({})

    assert (
        BODY_LIMIT
        == default.max_body_bytes
        == int(_directive("client_max_body_size").removesuffix("m")) << 20
    )
    assert int(_directive("proxy_read_timeout").removesuffix("s")) > default.answer_deadline_s


def test_nginx_lets_go_of_a_connection_before_the_doors_do():
    """A POST into a connection that is just being closed would be lost, and may not be repeated."""
    from api.processes.door import KEEP_ALIVE_S

    (upstream,) = re.findall(r"upstream doors \{.*?\n    \}", CONF, re.DOTALL)

    assert int(re.findall(r"keepalive_timeout (\d+)s;", upstream)[0]) < KEEP_ALIVE_S


def test_what_nginx_says_is_a_problem_of_the_table():
    """Type, title and status of nginx's own answers are the service's, and the status on the line is the body's."""
    own = {int(code): json.loads(body) for code, body in re.findall(r"return (\d+) '(\{.*?\})';", CONF)}
    slugs = {body["type"].removeprefix("/problems/"): body for body in own.values()}
    known = {slug: PROBLEMS[slug] for slug in slugs.keys() & PROBLEMS.keys()}

    assert own.keys() == {400, 404, 405, 413, 414, 429, 431, 500, 503}
    assert {code: body["status"] for code, body in own.items()} == {code: code for code in own}
    assert {slug: (kind.title, kind.status) for slug, kind in known.items()} == {
        slug: (slugs[slug]["title"], slugs[slug]["status"]) for slug in known
    }
    assert slugs.keys() - PROBLEMS.keys() <= ONLY_NGINX


def _of_nginx(directive: str) -> list[int]:
    """Read the numbers of a directive, in bytes or seconds."""
    units = {"k": 1 << 10, "m": 1 << 20, "s": 1, "": 1}
    (found,) = re.findall(rf"^ *{directive} +([^;]+);", CONF, re.MULTILINE)
    return [int(number) * units[unit] for number, unit in re.findall(r"([0-9]+)([kms]?)", found)]


def test_nginx_lets_nothing_through_that_the_doors_would_find_too_large_or_too_late():
    """Its limits are equal to the doors' own or tighter, so that the refusals of both are the same."""
    lines, line_bytes = _of_nginx("large_client_header_buffers")

    assert line_bytes <= guard.MAX_TARGET_BYTES
    assert lines * line_bytes <= guard.MAX_HEAD_BYTES
    assert _of_nginx("client_max_body_size") == [int(DEFAULTS["ONRECORD_MAX_BODY_BYTES"])]
    assert _of_nginx("client_header_timeout") <= [HEAD_DEADLINE_S]
    assert _of_nginx("client_body_timeout") <= [BODY_DEADLINE_S]
    assert f'"{guard.EVERYWHERE}"' in CONF


def test_the_doors_answer_to_every_name_that_nginx_passes_on():
    """The names in nginx.conf are the loopback ones and that of the public URL."""
    names = re.findall(r'^ +"?([^\s"]+)"? +yes;', CONF, re.MULTILINE)
    hosts = Hosts(DEFAULTS["ONRECORD_HOSTS"].replace("<public_url>", "https://onrecord.example"))

    assert len(names) == 4
    assert [name for name in names if not hosts.allow(name.encode())] == []
    assert [name for name in names if not hosts.allow(f"{name}:8080".encode())] == []
    assert not hosts.allow(b"evil.example")
