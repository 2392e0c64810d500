"""What the README shows for Evidently and NannyML, run on a real export: `python -m tests.elsewhere`, in `make soak`.

Each gets an environment of its own, for they want other versions of pandas than we do; so it is no part of `make test`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.service import ROOT, running

# Seen to work together; pandas 3 breaks both, and NannyML does not ask for statsmodels, which it needs.
PINS = {
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "pyarrow==26.0.1"),
    "nannyml": ("nannyml==0.13.1", "pandas==2.3.3", "pyarrow==26.0.1", "statsmodels==0.15.0"),
}
PREDICTIONS = 4_000


def blocks() -> dict[str, str]:
    """Find in the README the program for each of them."""
    section = (ROOT / "README.md").read_text().split("\n### In Evidently and NannyML\n")[1].split("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return {
        name: block
        for name in PINS
        for block in found
        if f"import {name}" in block or f"from {name}" in block
    }


def exported(folder: Path) -> None:
    """Predict and export, as the README says."""
    with running(folder / "var") as service, service.caller() as caller:
        for age in range(0, 100, 25):
            instances = [{"age": age + 25 * n / PREDICTIONS} for n in range(PREDICTIONS // 4)]
            assert caller.predict("housing", *instances).status_code == 201
        service.command("export", str(folder / "exported"))


def reads(name: str, block: str, folder: Path) -> str:
    """Run a program in an environment of its own; return what it printed."""
    environment = folder / name
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS[name]], check=True, timeout=1800)
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [python, "-c", block], cwd=folder, env=quiet, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> int:
    """Let each of them read one export."""
    programs = blocks()
    assert programs.keys() == PINS.keys()
    with tempfile.TemporaryDirectory(prefix="onrecord-") as place:
        folder = Path(place)
        exported(folder)
        for name, block in programs.items():
            said = reads(name, block, folder)
            assert "feature_age" in said or "alert" in said, said
            sys.stdout.write(f"{PINS[name][0]} read the export:\n{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
