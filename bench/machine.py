"""What the figures were measured on: without it no figure means anything."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("connexion", "uvicorn", "SQLAlchemy", "psycopg", "cryptography", "scikit-learn", "numpy")
_SYNCS = 200


def describe() -> list[str]:
    """Describe machine, disk and versions, a line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"machine: {os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.platform()}",
        f"disk: fdatasync of 4 KiB takes {fsync_ms():.2f} ms (median of {_SYNCS})",
        f"python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}",
        f"code: {_commit()}",
    ]


def load_average() -> str:
    """Say how busy the machine is: the averages of 1, 5 and 15 minutes."""
    return " ".join(f"{each:.2f}" for each in os.getloadavg())


def fsync_ms() -> float:
    """Measure what it costs to have 4 KiB on disk."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            getattr(os, "fdatasync", os.fsync)(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    root = Path(__file__).parent.parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
