"""Mutations that the suite must kill: `make mutants` breaks a copy of the tree in one place at a time and tests it.

`python -m tests.mutants [name …]` prints, for each, the test that found it out; its exit code is 1 if one was not. A
mutation replaces text that stands in its file exactly once, so none can be lost unseen when the code changes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.mutations import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "var", "__pycache__", ".*_cache", ".hypothesis", "artefacts"
)
LONGEST_S = 300.0  # tests that hang have noticed, too
_FOUND = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one mutant: which test killed it; none means that it survived."""

    killer: str | None
    took_s: float


def mutated(mutant: Mutant, tree: Path) -> dict[Path, str]:
    """Return the changed text of each file; AssertionError where what is to be replaced is not there exactly once."""
    texts: dict[Path, str] = {}
    for edit in mutant.edits:
        path = tree / edit.file
        text = texts.get(path) or path.read_text()
        assert text.count(edit.old) == 1, (
            f"{mutant.name}: {edit.file} has {text.count(edit.old)} of {edit.old!r}"
        )
        texts[path] = text.replace(edit.old, edit.new)
    return texts


def hunt(mutant: Mutant) -> Outcome:
    """Break a copy of the tree and let the tests that should notice run in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        (tree / ".venv").symlink_to((ROOT / ".venv").resolve())
        for path, text in mutated(mutant, tree).items():
            path.write_text(text)
        return _run(tree, mutant.killers)


def _run(tree: Path, tests: tuple[str, ...]) -> Outcome:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environment = {name: value for name, value in os.environ.items() if name != "ONRECORD_SOAK"}
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(killer=f"hanging in {' '.join(tests)}", took_s=LONGEST_S)
    found = _FOUND.search(done.stdout)
    if done.returncode not in (0, 1) or (done.returncode == 1) != (found is not None):
        raise RuntimeError(f"pytest could not run {tests}:\n{done.stdout}{done.stderr}")
    return Outcome(killer=found.group(1) if found else None, took_s=time.monotonic() - started)


def main(names: list[str]) -> int:
    """Hunt the named mutants, or all of them, and print what became of each."""
    chosen = [each for each in MUTANTS if not names or each.name in names]
    survivors = 0
    for mutant in chosen:
        outcome = hunt(mutant)
        fate = "SURVIVED" if outcome.killer is None else f"killed by {outcome.killer}"
        survivors += outcome.killer is None
        sys.stdout.write(f"{mutant.name:4} {mutant.what:60} {fate} ({outcome.took_s:.0f} s)\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - survivors} of {len(chosen)} mutants killed\n")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
