"""
Whether a version loads and answers, found out in a process that may be lost: `python -m models.proving`.

A pickle that kills, hangs or bloats whoever loads it does so here first, before anything is registered or promoted. One
process imports the libraries and forks for every question, so that no version meets what another left behind. It is
given no descriptor and no environment but what it needs, and limits that it cannot lift. It runs as the same user, so
it may read what that user may read: what keeps strangers' code out is the digest and the signature, not this.
"""

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import registry, warming
from models.registry import ModelRefused, Terms

ROOT = Path(__file__).parent.parent
# The slowest of the examples takes 0.1 s; a large forest some seconds.
PROCESSOR_S = 30
WITHIN_S = 45
START_S = 60  # importing scikit-learn takes 1.4 s; on a busy machine many times that
_LIBRARIES_BYTES = (
    2 << 30
)  # address space, not memory: 1.1 GB of it is mapped once the libraries are imported
_TIMES_UNPICKLED = 8  # an estimator in memory is larger than its pickle
_OPEN_FILES = 64
_VERDICT_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which version shall be proved to load, under which registered digest of its pickle and on what terms."""

    store: Path
    model: str
    version: str
    digest: str
    terms: Terms

    def line(self) -> bytes:
        """Write the question for the process that is asked it, as one line."""
        terms = asdict(self.terms) | {"publishers": [each.hex() for each in self.terms.publishers]}
        members = {
            "store": str(self.store.resolve()),
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "terms": terms,
        }
        return json.dumps(members).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "Question":
        """Read what `line` wrote."""
        members: dict[str, Any] = json.loads(line)
        terms = members["terms"]
        terms["publishers"] = tuple(bytes.fromhex(each) for each in terms["publishers"])
        return cls(**members | {"store": Path(members["store"]), "terms": Terms(**terms)})


class Prover:
    """
    The asking side. Its process starts with the first question and stays until `end`.

    Not for several threads at once.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def prove(self, question: Question) -> None:
        """
        Return when the version has loaded and given its golden answers, and its twin the same as it, over there.

        Raises:
            ModelRefused: it did not; says why, or how the process was lost.
        """
        reason = self._ask(question)
        if reason:
            raise ModelRefused(question.model, question.version, reason)

    def end(self) -> None:
        """End the process, where there is one; the next question starts another."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:  # closes its pipes and waits for it
            self._process = None

    def _ask(self, question: Question) -> str:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(START_S + WITHIN_S, process.kill)
        late.start()
        try:
            process.stdin.write(question.line())
            process.stdin.flush()
            return str(json.loads(process.stdout.readline()))
        except (OSError, ValueError):
            self.end()
            return "the process that tries versions out was lost; ask again, and look at the machine's memory"
        finally:
            late.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = started("models.proving", self._environment)
        return self._process


def started(module: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a module as a process that is told and asked through pipes, and knows nothing but this environment."""
    return subprocess.Popen(  # noqa: S603  # no shell, and nobody's words but ours
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=dict(environment),
        start_new_session=True,  # Ctrl-C is for who asks; and what it has forked ends with it
    )


def main() -> None:
    """Be the process: a line for every question, empty where the version is good."""
    warming.warm()
    # Some estimators print. What was standard output is for verdicts alone.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            out.write(json.dumps(verdict(Question.of(line))).encode() + b"\n")
            out.flush()


def verdict(question: Question) -> str:
    """Let a forked process load the version; why it is refused, or nothing."""
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        _try(question, said)
    os.close(said)
    until = time.monotonic() + WITHIN_S
    try:
        words = _hear(heard, until)
        is_late = time.monotonic() >= until
    finally:
        os.close(heard)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # one that has said all it had to say is gone already, or hangs
        _, status = os.waitpid(child, 0)
    if words.endswith(b"\n"):
        return words.decode(errors="replace").strip()
    end = f"did not end within {WITHIN_S} s" if is_late else ending(os.waitstatus_to_exitcode(status))
    return f"the process that tried it out {end}; nothing else was harmed, retrain it"


def _hear(descriptor: int, until: float) -> bytes:
    words = b""
    while len(words) < _VERDICT_BYTES and not words.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready or not (piece := os.read(descriptor, _VERDICT_BYTES)):
            break
        words += piece
    return words


def ending(code: int) -> str:
    """Say how a process ended, by the exit code that Python has for it."""
    if code == -signal.SIGXCPU:
        return f"used more than {PROCESSOR_S} s of processor time"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _try(question: Question, said: int) -> None:
    """Be the forked process, limited, for one version; never returns."""
    code = 1
    try:
        _limit(question.terms.largest_bytes)
        os.write(said, _reason(question).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)  # a forked process must never return into its parent's loop


def _reason(question: Question) -> str:
    from models import twin

    try:
        loaded = registry.load(
            question.store, question.model, question.version, question.digest, question.terms
        )
        if loaded.manifest.twin is not None and loaded.manifest.twin.way is not None:
            twin.insist(loaded)
    except ModelRefused as refused:
        return _on_one_line(refused.reason)
    except twin.TwinRefused as refused:
        return _on_one_line(f"its manifest claims a twin that does not hold: {refused}; compile it again")
    except MemoryError:
        return "it takes more memory than is allowed; train a smaller one"
    return ""


def _on_one_line(reason: str) -> str:
    return " ".join(reason.split())[: _VERDICT_BYTES // 8]


def _limit(largest_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: _LIBRARIES_BYTES + _TIMES_UNPICKLED * largest_bytes,
        resource.RLIMIT_CPU: PROCESSOR_S + 1,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))
    # A second earlier than SIGKILL comes SIGXCPU, which says what it was.
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S + 1))


if __name__ == "__main__":
    main()
