"""Load over HTTP, by wrk: a fixed number of connections, each with one request under way, for some seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "rows.lua"
MISSING = "wrk is missing: install it from your distribution (apt-get install wrk, brew install wrk)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk saw in one round; latencies in milliseconds. `wrong` counts answers that were no 2xx, and errors."""

    per_s: float
    p50_ms: float
    p99_ms: float
    wrong: int
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go and what they say: a file with one body a line, taken in turn."""

    url: str
    bodies: Path
    headers: Mapping[str, str]


def need_wrk() -> None:
    """Leave at once, saying how to install what is missing."""
    if shutil.which("wrk") is None:
        sys.exit(MISSING)


def bodies(path: Path, lines: Sequence[bytes]) -> Path:
    """Write the bodies of the requests, one a line."""
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def run(target: Target, connections: int, seconds: float) -> Load:
    """Load one service; the clock of wrk is the only one."""
    headers = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    size = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    done = subprocess.run(
        ["wrk", *size, "-s", SCRIPT, *headers, target.url, "--", target.bodies],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode != 0:
        raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
    said = json.loads(done.stdout.rpartition("RESULT ")[2])
    return Load(
        per_s=said["requests"] / said["seconds"],
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        wrong=said["wrong"],
        failure=said["first"],
    )
