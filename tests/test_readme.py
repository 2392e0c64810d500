"""The README's commands are run as written and must print what it shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import auditor
from tests.service import ROOT, free_port

README = (ROOT / "README.md").read_text()
# What differs from run to run, and nothing else.
CHANGING = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "<id>",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z": "<time>",
    r"demo-[a-z0-9]+": "<client>",
    r"root [0-9a-f]{64}": "root <root>",
    r"onrecord\.local/[0-9a-f]{8}": "<origin>",
}


@dataclass(frozen=True)
class Step:
    """One command of a console block and what it prints."""

    command: str
    output: str


def _steps() -> list[Step]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [Step(*part.split("\n", 1)) for part in parts]


def _constant(text: str) -> str:
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text)
    return text


@pytest.fixture(scope="module")
def checkout(short_folder: Path) -> Iterator[tuple[Path, int]]:
    """Copy what a clone would hold and `make run` it there, on a free port and in the environment the tests run in."""
    folder, port = short_folder / "clone", free_port()
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, names.stdout.split("\n")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    environment = {**os.environ, "ONRECORD_PORT": str(port)}
    with (short_folder / "make.txt").open("wb") as said:
        running = subprocess.Popen(
            ["make", "run"],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield folder, port
    os.killpg(running.pid, signal.SIGTERM)
    running.wait(timeout=40)


def _said_within(path: Path, expected: list[str], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if set(expected) <= set(path.read_text().split("\n")):
            return True
        time.sleep(0.1)
    return False


def test_the_readme_session_prints_what_it_shows(checkout: tuple[Path, int], short_folder: Path) -> None:
    """`make run` says where it answers; the three lines get a token, predict and look it up, with the shown output."""
    folder, port = checkout
    start, *session = _steps()
    assert start.command == "make run"
    expected = start.output.replace("8080", str(port)).strip().split("\n")
    assert _said_within(short_folder / "make.txt", expected, 300), (short_folder / "make.txt").read_text()

    script = "\n".join(f"{step.command}\necho '=== end'" for step in session).replace("8080", str(port))
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, check=True, capture_output=True, text=True, timeout=300
    )

    printed = [_constant(part).strip() for part in ran.stdout.split("=== end\n")[:-1]]
    assert printed == [_constant(step.output).strip() for step in session]
    [edited] = auditor.audit(f"sqlite:///{folder}/var/onrecord.db", {})
    assert "12" in edited.where


def test_a_second_start_changes_nothing(checkout: tuple[Path, int]) -> None:
    """`make setup` again leaves keys, clients and database as they are."""
    folder, _ = checkout
    before = {path: path.read_bytes() for path in (folder / "var").rglob("*") if path.is_file()}

    subprocess.run(["make", "setup"], cwd=folder, check=True, capture_output=True, timeout=300)

    kept = [path for path in before if path.suffix in (".pem", ".key", ".json", ".curl")]
    assert len(kept) >= 6
    assert {path: path.read_bytes() for path in kept} == {path: before[path] for path in kept}


def test_every_link_in_the_readme_leads_to_a_file() -> None:
    """No link of the README is dead."""
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
