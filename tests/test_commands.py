"""The command line: what it makes, that it works beside a running service, and how it says no."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.engine import open_reader
from db.lookups import Lookups
from tests.engines import wait_for
from tests.service import Caller, Service

pytest_plugins = ("tests.deployments",)


@pytest.fixture(scope="module", params=["running", "stopped"])
def service(request: pytest.FixtureRequest, another: Callable[[], Path]) -> Iterator[Service]:
    """Give a deployment whose engine runs, and the same one while nothing runs."""
    service = Service(another())
    if request.param == "running":
        service.spawn("engine")
        wait_for((service.var / "engine.sock").exists)
    yield service
    service.kill()


def said(service: Service, *command: str) -> dict[str, Any]:
    """Run a command and read the JSON it prints."""
    return dict(json.loads(service.command(*command).stdout))


def records(service: Service, kind: str) -> list[dict[str, Any]]:
    """Read what is on record of one kind of change, in order."""
    reader = open_reader(service.database_url)
    try:
        with reader.connect() as connection:
            ids = connection.exec_driver_sql(
                "SELECT id FROM record WHERE kind IN (2, 3) ORDER BY idx"
            ).fetchall()
        found = [Lookups(reader).record(_uuid(row[0]), None) for row in ids]
    finally:
        reader.dispose()
    return [
        json.loads(each.input) | {"output": json.loads(each.output)}
        for each in found
        if kind in str(each.input)
    ]


def _uuid(stored: Any) -> Any:
    from uuid import UUID

    return UUID(bytes=stored) if isinstance(stored, bytes) else UUID(str(stored))


def test_clients_are_added_rotated_and_disabled_with_a_record_each(service: Service) -> None:
    """Every change of a client works with and without an engine, and is on record without any secret."""
    added = said(service, "client", "add", "bank", "--scope", "predict predictions:read")
    rotated = said(service, "client", "rotate", added["client_id"])
    disabled = said(service, "client", "disable", added["client_id"])
    listed = service.command("client", "list").stdout

    assert added["client_id"].startswith("bank-")
    assert added["client_secret"] != rotated["client_secret"]
    assert disabled["client_id"] == added["client_id"]
    assert f"{added['client_id']}\tbank\tpredict predictions:read\t20" in listed
    changes = records(service, added["client_id"]) + records(service, '"name":"bank"')
    assert [each["change"] for each in changes] == ["client.rotate", "client.disable", "client.add"]
    for secret in (added["client_secret"], rotated["client_secret"]):
        assert secret not in json.dumps(changes)
        assert secret.encode() not in (service.var / "onrecord.db").read_bytes()


def test_a_new_client_can_be_kept_in_a_file(var: Path, tmp_path: Path) -> None:
    """With --to the secret goes into a file of mode 0600 and not onto the terminal; no file is overwritten."""
    service = Service(var)
    file = tmp_path / "bank.json"
    output = service.command("client", "add", "bank", "--scope", "predict", "--to", str(file)).stdout
    again = service.command("client", "add", "bank", "--scope", "predict", "--to", str(file), check=False)

    kept = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept["client_secret"] not in output
    assert (again.returncode, json.loads(file.read_text())) == (2, kept)


def with_second_version(var: Path) -> Service:
    """Give a deployment a store that holds housing twice."""
    store = var / "store"
    shutil.copytree("models/store", store)
    shutil.copytree(store / "housing" / "1", store / "housing" / "2")
    manifest = store / "housing" / "2" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": "2"}))
    return Service(var, ONRECORD_STORE=str(store))


@pytest.mark.parametrize("running", [True, False])
def test_versions_are_registered_promoted_and_rolled_back(var: Path, running: bool) -> None:
    """The champion changes at once, also for a running engine, and goes back; each change is on record."""
    service = with_second_version(var)
    with contextlib.ExitStack() as ending:
        if running:
            ending.callback(service.kill)
            service.spawn("engine")
            wait_for((var / "engine.sock").exists)
        said(service, "model", "register", "housing", "2")
        said(service, "model", "register", "housing", "2")
        promoted = said(service, "model", "promote", "housing", "2")
        table_then = service.command("model", "list").stdout
        back = said(service, "model", "rollback", "housing")

    assert (promoted["version"], promoted["previous"], back["version"]) == ("2", "1", "1")
    assert "housing\t2\tchampion" in table_then
    changes = [each["change"].removeprefix("model.") for each in records(service, "housing")]
    assert changes == ["register", "promote", "register", "promote", "rollback"]


def test_a_promoted_version_answers_the_very_next_request(var: Path) -> None:
    """Promote and roll back beside a running service: callers see it at once, no restart."""
    service = with_second_version(var)
    try:
        service.start()
        service.command("model", "register", "housing", "2")
        caller = service.caller()
        with caller.http:
            versions = [version_of(caller)]
            service.command("model", "promote", "housing", "2")
            versions.append(version_of(caller))
            service.command("model", "rollback", "housing")
            versions.append(version_of(caller))
    finally:
        service.kill()

    assert versions == ["1", "2", "1"]


def version_of(caller: Caller) -> str:
    """Ask for a price and say which version answered."""
    return str(caller.predict("housing", {"age": 50}).json()["version"])


def test_a_version_that_does_not_load_is_not_promoted(var: Path) -> None:
    """Promotion loads the artefact first: one that is broken keeps its alias from pointing to it."""
    service = with_second_version(var)
    broken = var / "store" / "housing" / "1" / "model.pkl"
    broken.write_bytes(broken.read_bytes() + b"!")
    refused = service.command("model", "promote", "housing", "1", "--alias", "challenger", check=False)

    assert refused.returncode == 2
    assert "is not promoted" in refused.stderr
    assert "challenger" not in service.command("model", "list").stdout


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("client", "disable", "nobody"), "nobody"),
        (("client", "add", "x", "--scope", "everything"), "everything"),
        (("model", "promote", "housing", "9"), "no registered version 9"),
        (("model", "register", "housing", "9"), "no version 9"),
        (("model", "register", "../x", "1"), "no version 1"),
        (("model", "rollback", "housing"), "no version to return to"),
    ],
)
def test_what_cannot_be_changed_is_refused_in_one_line(
    service: Service, command: tuple[str, ...], reason: str
) -> None:
    """A change that is impossible says why, exits with 2, and is the same with an engine and without."""
    refused = service.command(*command, check=False)

    assert refused.returncode == 2
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_token_is_printed_for_scripts(var: Path) -> None:
    """`token` asks the running service, and says how to start it where none runs."""
    service = Service(var)
    alone = service.command("token", check=False)
    try:
        service.start()
        token = service.command("token", "--scope", "predict").stdout.strip()
        answer = httpx.post(
            f"{service.url}/v1/models/housing/predictions",
            json={"instances": [{"age": 50}]},
            headers={"Authorization": f"Bearer {token}"},
        )
    finally:
        service.kill()

    assert (alone.returncode, answer.status_code) == (2, 201)
    assert "python -m api serve" in alone.stderr
