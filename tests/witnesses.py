"""Logs that a witness can be asked about, honest ones and forked ones, and the witness as the process it is."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db.notes import Checkpoint, Signer, VerifierKey, sign
from db.submissions import Submission
from db.tree import Frontier, consistency_proof, leaf_hash
from tests.service import ROOT, free_port

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
READY_WITHIN_S = 60


@dataclass(frozen=True)
class Log:
    """A log of so many leaves; another `branch` has other leaves from place `forks_at` on."""

    origin: str
    branch: str = ""
    forks_at: int = 0
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signer", Signer(name=self.origin, private=PRIVATE))

    def hashes(self, size: int) -> list[bytes]:
        """Hash the first leaves."""
        return [leaf_hash(f"{self.branch if at >= self.forks_at else ''}{at}".encode()) for at in range(size)]

    def note(self, size: int) -> bytes:
        """Sign the checkpoint of this size."""
        root = Frontier().append(self.hashes(size)).after.root()
        return sign(Checkpoint(origin=self.origin, size=size, root=root).text(), self.signer)

    def proof(self, old: int, size: int) -> tuple[bytes, ...]:
        """Prove that it grew."""
        return tuple(consistency_proof(old, size, Frontier().append(self.hashes(size)).node)) if old else ()

    def submission(self, old: int, size: int) -> bytes:
        """Write the request that asks for a cosignature."""
        return Submission(old=old, hashes=self.proof(old, size), note=self.note(size)).encode()


@dataclass
class Process:
    """`python -m api witness`, to be asked and to be killed."""

    url: str
    key: VerifierKey
    process: subprocess.Popen[str]

    def add(self, data: bytes) -> httpx.Response:
        """Submit something."""
        return httpx.post(f"{self.url}/add-checkpoint", content=data, timeout=30)

    def seen(self, origin: str) -> httpx.Response:
        """Ask what it has cosigned last."""
        return httpx.get(f"{self.url}/checkpoint", params={"origin": origin}, timeout=30)

    @property
    def entry(self) -> str:
        """Write it as a setting has it."""
        return f"{self.url}={self.key}"


def command(folder: Path, *keys: str, port: int, name: str | None = None) -> list[str]:
    """Write the command line of a witness for these logs."""
    logs = [part for key in keys for part in ("--log", key)]
    named = ["--name", name] if name else []
    return [
        sys.executable,
        "-m",
        "api",
        "witness",
        "--folder",
        str(folder),
        *logs,
        "--port",
        str(port),
        *named,
    ]


@contextlib.contextmanager
def witnessing(
    folder: Path, *keys: str, port: int | None = None, name: str | None = None
) -> Iterator[Process]:
    """Run a witness until the end, when it is told to stop and has to do so well."""
    port = port or free_port()
    started = subprocess.Popen(
        command(folder, *keys, port=port, name=name), cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    try:
        assert started.stdout is not None
        key = VerifierKey.parse(started.stdout.readline().removeprefix("witness ").strip())
        running = Process(f"http://127.0.0.1:{port}", key, started)
        wait_until_live(running)
        yield running
        if started.poll() is None:
            started.terminate()
            assert started.wait(30) == 0
    finally:
        started.kill()
        started.wait()
        started.stdout and started.stdout.close()


def wait_until_live(witness: Process) -> None:
    """Wait until it answers."""
    until = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            if httpx.get(f"{witness.url}/health/live", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            assert time.monotonic() < until and witness.process.poll() is None, "the witness does not answer"
        time.sleep(0.05)
