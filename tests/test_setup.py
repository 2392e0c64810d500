"""Setup and settings: what is made once, what is never touched again, and what is refused before anything starts."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from api.settings import Settings, environment_of, table
from tests.engines import settings_of, wait_for
from tests.service import ROOT, Service

pytest_plugins = ("tests.deployments",)


def modes(folder: Path) -> dict[str, int]:
    """Tell the mode of everything under a folder."""
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_setup_makes_everything_for_its_own_user_only(prepared: Path) -> None:
    """Keys and clients are readable by nobody else, and neither is the folder they are in."""
    found = modes(prepared)

    assert stat.S_IMODE(prepared.stat().st_mode) == 0o700
    assert found["keys"] == found["keys/tokens"] == found["clients"] == 0o700
    private = ("keys/tokens/active.pem", "keys/cursor.key", "clients/demo.json", "clients/admin.json")
    assert {found[name] for name in private} == {0o600}
    demo = json.loads((prepared / "clients" / "demo.json").read_text())
    assert set(demo) == {"client_id", "client_secret", "scope"}
    assert demo["scope"] == "models:read outcomes:write predict predictions:read"


@pytest.mark.parametrize("running", [True, False])
def test_a_second_setup_changes_nothing_and_says_so(var: Path, running: bool) -> None:
    """Setup looks first: a deployment that is complete stays as it is, byte for byte, running or not."""
    kept = ("keys/tokens/active.pem", "keys/cursor.key", "clients/demo.json", "clients/admin.json")
    service = Service(var)
    before = [(var / name).read_bytes() for name in kept]
    try:
        if running:
            service.spawn("engine")
            wait_for((var / "engine.sock").exists)

        assert service.command("setup").stdout.strip() == "nothing to do: everything is in place"
    finally:
        service.kill()
    assert [(var / name).read_bytes() for name in kept] == before
    with contextlib.closing(sqlite3.connect(var / "onrecord.db")) as database:
        # Five versions registered, five promoted, two clients added: by the first setup.
        assert database.execute("SELECT count(*) FROM record").fetchone() == (12,)


def test_setup_repairs_what_is_missing_and_leaves_the_rest(var: Path) -> None:
    """A lost key and a client file that the database does not know are made anew; nothing else is touched."""
    (var / "keys" / "cursor.key").unlink()
    (var / "clients" / "demo.json").write_text('{"client_id":"x","client_secret":"y","scope":"predict"}')
    token_key = (var / "keys" / "tokens" / "active.pem").read_bytes()
    done = Service(var).command("setup").stdout.splitlines()

    assert len(done) == 2
    assert "cursor.key" in done[0]
    assert "(demo)" in done[1]
    assert (var / "keys" / "tokens" / "active.pem").read_bytes() == token_key


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("ONRECORD_PORT", "99999", "from 1 to 65535"),
        ("ONRECORD_TOKEN_LIFETIME_S", "5", "from 60 to 3600"),
        ("ONRECORD_ROOT_PATH", "onrecord/", "/onrecord"),
        ("ONRECORD_DOCS", "maybe", "on, off"),
        ("ONRECORD_ENGINE_SOCKET", "/" + "x" * 120, "at most 107 bytes"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x", "postgresql+psycopg://"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(var: Path, variable: str, value: str, allowed: str) -> None:
    """Nothing starts on a wrong value; the line names variable and what is allowed, never a password."""
    refused = Service(var, **{variable: value}).command("serve", check=False)

    assert refused.returncode == 2
    assert variable in refused.stderr
    assert allowed in refused.stderr
    assert "hunter2" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_settings_survive_the_way_to_a_child_process(tmp_path: Path) -> None:
    """What the supervisor was told is what its children read."""
    chosen = settings_of(tmp_path, ONRECORD_ROOT_PATH="/a", ONRECORD_DEBUG="on", ONRECORD_DOORS="3")

    assert Settings.from_environment(environment_of(chosen)) == chosen


def test_every_setting_is_listed_with_its_default(var: Path) -> None:
    """`settings` prints one line per setting, for people and for the README."""
    lines = Service(var).command("settings").stdout.splitlines()
    markdown = Service(var).command("settings", "--markdown").stdout.splitlines()

    names = [each.variable for each in table()]
    assert [line.partition("\t")[0] for line in lines[1:]] == names
    assert [line.split("`")[1] for line in markdown[2:]] == names


def test_without_setup_every_command_says_what_to_do(short_folder: Path) -> None:
    """On an empty folder: one line that names the command which cures it."""
    service = Service(short_folder / "nothing")
    for command in (
        ("serve",),
        ("engine",),
        ("client", "list"),
        ("model", "rollback", "housing"),
        ("token",),
    ):
        refused = service.command(*command, check=False)

        assert refused.returncode == 2, command
        assert "Traceback" not in refused.stderr, command
        assert "python -m api" in refused.stderr, command


def test_help_is_quick() -> None:
    """Help imports nothing heavy: a person waits for the text, not for scikit-learn."""
    asked = "import sys; from api.__main__ import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    *lines, loaded = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    text = "\n".join(lines)

    assert not {"sklearn", "numpy", "pandas", "pyarrow", "sqlalchemy", "connexion"} & set(loaded.split())
    assert all(
        name in text for name in ("setup", "serve", "doors", "engine", "migrate", "client", "token", "model")
    )
