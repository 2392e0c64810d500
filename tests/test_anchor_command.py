"""`python -m api anchor`: what is kept outside is shown, compared, and never made older by adding to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.__main__ import main
from api.anchoring import read_anchor
from api.engine.opening import opened
from tests.backups import Backups
from tests.engines import settings_of
from tests.ledgers import predicted
from tests.tampering import signed_by_another

pytest_plugins = ("tests.deployments",)


@pytest.fixture
def run(var: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Run commands over the test's own deployment."""
    monkeypatch.setenv("ONRECORD_VAR", str(var))
    return CliRunner()


def anchor(run: CliRunner, *arguments: str) -> Result:
    return run.invoke(main, ["anchor", *arguments])


def grow(var: Path, count: int) -> bytes:
    """Append, and return the checkpoint that was anchored."""
    with opened(settings_of(var)) as ledger:
        ledger.append([predicted() for _ in range(count)])
        ledger.note()
    return read_anchor(settings_of(var).anchor)[-1]


def test_the_newest_checkpoint_is_shown_and_compared(var: Path, run: CliRunner) -> None:
    """Its size, root and origin are those of the last line, and the database has grown from it."""
    _, size, *_ = grow(var, 3).decode().split("\n")
    shown, checked = anchor(run), anchor(run, "check")

    assert f"ends with {size} records of onrecord.local/" in shown.output
    assert (checked.exit_code, f"with {size} records in epoch 0, has grown" in checked.output) == (0, True)


def test_a_database_behind_its_anchor_is_named(var: Path, run: CliRunner, backups: Backups) -> None:
    """The comparison refuses as a start does, with the same cure."""
    url = settings_of(var).database_url
    backup = backups.take(url)
    grow(var, 3)
    backups.restore(backup, url)
    checked = anchor(run, "check")

    assert (checked.exit_code, "it was rolled back" in checked.output) == (2, True)
    assert "python -m api epoch" in checked.output


def test_only_what_is_ahead_is_imported(var: Path, run: CliRunner, tmp_path: Path) -> None:
    """An older checkpoint is not put behind a newer one; a stranger's is refused by name; a newer one is kept."""
    file = settings_of(var).anchor
    older, newer = grow(var, 1), grow(var, 1)
    files = {"older": older, "newer": newer, "stranger": signed_by_another("x.test", 3, bytes(32))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    file.unlink()

    said = [
        anchor(run, "import", str(tmp_path / name)).output[:1]
        for name in ("older", "newer", "older", "newer")
    ]
    refused = anchor(run, "import", str(tmp_path / "stranger"))

    assert said == ["1", "1", "0", "0"]
    assert read_anchor(file) == [older, newer]
    assert (refused.exit_code, "not of this ledger" in refused.output) == (2, True)


def test_without_a_checkpoint_there_is_nothing_to_show(var: Path, run: CliRunner) -> None:
    """An anchor file that does not exist yet is no fault."""
    settings_of(var).anchor.unlink()

    assert "keeps no checkpoint yet" in anchor(run).output
