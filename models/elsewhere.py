"""
A version's estimator, asked in a process of its own: `python -m models.elsewhere`.

A pickle computes for milliseconds with the interpreter's lock held, in which nothing is recorded and no door is read.
Over there it has an interpreter and a core of its own. The same file is loaded under the same digest and has to give
its golden answers first; what it does not answer is asked here, so that nobody depends on it, but for what it died of.
"""

import contextlib
import ctypes
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol

import numpy as np

from models import registry, warming
from models.features import Column
from models.model import Model, PredictionFailed, PredictionLost, Score
from models.proving import Question, ending, started
from models.registry import ModelRefused

FEWEST = 4  # rows worth the way there and back, which takes some 0.1 ms
CALLS = 32  # with so many rows before a process is started for them: it takes some 100 MB
RETRY_S = 60.0
_ENDING_S = 1.0  # between the end of its pipe and its own, it is ending
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_LENGTH = struct.Struct("<Q")
_SHAPE = struct.Struct("<QQ")  # rows, and numbers in each (0: the answer is one column of them)
_READY, _TAKEN = b"\n", b"?"  # it can be asked; it has the whole question
_NOTHING = _SHAPE.pack(
    2**64 - 1, 0
)  # it raised, or gave no numbers: asked here, it will say so in its own words


class _DiedOfIt(Exception):
    """The process had taken the question, and ended before its answer did."""


class Log(Protocol):
    """What is told how processes fare; it knows which version's they are."""

    def info(self, event: str, **more: Any) -> object:
        """Tell what is as it should be."""

    def error(self, event: str, **more: Any) -> object:
        """Tell what somebody should look at."""


class Elsewhere:
    """
    The asking side, for the model of one version; `here` asks it in this process.

    `places` are left for processes, over all versions. `score` is for one thread, `end` for any.

    A version whose process died while it answered is not asked here any more: what kills that process would kill this
    one. Its process keeps its place, is made up for at once, and is waited for.
    """

    def __init__(
        self,
        question: Question,
        environment: Mapping[str, str],
        here: Score,
        places: threading.Semaphore,
        log: Log,
    ) -> None:
        self._question, self._environment, self._here = question, environment, here
        self._places, self._log = places, log
        self._calls, self._lost_at = 0, float("-inf")
        self._is_ready = self._is_ended = self._is_deadly = False
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def score(self, columns: Sequence[Column]) -> Any:
        """
        Ask over there what is worth it, once a process is ready; the rest, and what it cannot answer, here.

        Raises:
            PredictionLost: the process died while it had these rows.
            PredictionFailed: there is no answer over there, and here it may not be asked.
        """
        if self._is_deadly:
            return self._only_there(columns)
        if len(columns[0]) < FEWEST or (process := self._ready()) is None:
            return self._here(columns)
        outputs = self._there(process, columns)
        return self._here(columns) if outputs is None else outputs

    def end(self) -> None:
        """End the process, where there is one, and start no more."""
        with self._starting:
            self._is_ended = True
        if (process := self._process) is not None:
            _close(process)

    def _there(self, process: subprocess.Popen[bytes], columns: Sequence[Column]) -> Any:
        """Ask the process; None where it gives no numbers, or was gone before it was asked."""
        try:
            return _asked(process, columns)
        except _DiedOfIt as died:
            self._is_deadly = not self._is_ended
            self._lose()
            if self._is_deadly:
                raise PredictionLost("the process that answers for this version died while it did") from died
            return None
        except (OSError, ValueError):
            self._lose()
            return None

    def _only_there(self, columns: Sequence[Column]) -> Any:
        for _ in range(2):
            if (outputs := self._there(self._awaited(), columns)) is not None:
                return outputs
            if self._process is not None:
                break
        raise PredictionFailed("it gave no numbers where alone it may be asked")

    def _awaited(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._start()
        if self._process is not None and not self._is_ready:
            self._welcome(self._process)
        if self._process is None:
            raise PredictionLost("no process could be started to ask this version in")
        return self._process

    def _ready(self) -> subprocess.Popen[bytes] | None:
        self._calls += 1
        if self._process is None:
            if self._calls >= CALLS and time.monotonic() - self._lost_at >= RETRY_S:
                self._start()
            return None
        if not self._is_ready:
            said = self._process.stdout
            assert said is not None
            if not select.select([said], [], [], 0)[0]:
                return None
            self._welcome(self._process)
        return self._process

    def _start(self) -> None:
        with self._starting:
            if self._is_ended or not (self._is_deadly or self._places.acquire(blocking=False)):
                return
            self._process = started("models.elsewhere", self._environment)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(self._question.line())
            self._process.stdin.flush()

    def _welcome(self, process: subprocess.Popen[bytes]) -> None:
        """Hear what a process says first; lose one that refused the version, or could not be started."""
        assert process.stdout is not None
        if process.stdout.read(1) == _READY:
            self._is_ready = True
            self._log.info("asked-elsewhere", process=process.pid)
        else:
            self._lose()

    def _lose(self) -> None:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_S)  # or its exit code would be that of being ended here
        _close(self._process)
        if not self._is_ended:
            end = ending(self._process.returncode)
            self._log.error("elsewhere-lost", process=self._process.pid, end=end, only_there=self._is_deadly)
        if not self._is_deadly:
            self._places.release()
        self._process, self._is_ready, self._lost_at = None, False, time.monotonic()


def moved(model: Model, elsewhere: Elsewhere) -> Model:
    """Return a model whose pickle is asked elsewhere, with the twin of this one."""
    found = Model(model.manifest, model.estimator, elsewhere.score)
    found.twin, found.twinless = model.twin, model.twinless
    return found


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # first: whoever reads from it reads the end, and lets go of the pipe
    with contextlib.suppress(OSError), process:  # closes its pipes and waits for it
        pass


def _asked(process: subprocess.Popen[bytes], columns: Sequence[Column]) -> Any:
    """
    Give what the estimator gave over there, (rows,) or (rows, labels); None where that were no numbers.

    Raises:
        _DiedOfIt: it ended once it had taken the question.
        OSError, ValueError: it was gone before, or gives what is no answer.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    blob = pickle.dumps(columns, pickle.HIGHEST_PROTOCOL)
    process.stdin.write(_LENGTH.pack(len(blob)) + blob)
    process.stdin.flush()
    if process.stdout.read(1) != _TAKEN:
        raise ConnectionError("gone before it was asked")
    head = _whole(process.stdout, _SHAPE.size)
    if head == _NOTHING:
        return None
    rows, width = _SHAPE.unpack(head)
    if rows != len(columns[0]):
        raise ValueError("an answer of another length")
    # Never a pickle in this direction: what comes from there is numbers, whatever runs there.
    numbers = np.frombuffer(_whole(process.stdout, rows * (width or 1) * 8), np.float64)
    return numbers.reshape((rows, width) if width else (rows,))


def _whole(said: IO[bytes], size: int) -> bytes:
    found = said.read(size)
    if len(found) < size:
        raise _DiedOfIt
    return found


def main() -> None:
    """Be the process: load the version, say so, and answer until nobody asks any more."""
    # Also where the estimator hangs and would not see the end of its input.
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    question = Question.of(sys.stdin.buffer.readline())
    # Some estimators print. What was standard output is for answers alone.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        warming.import_pandas()
        try:
            loaded = registry.load(
                question.store, question.model, question.version, question.digest, question.terms
            )
        except ModelRefused:
            return
        out.write(_READY)
        out.flush()
        _answer(loaded, sys.stdin.buffer, out)


def _answer(loaded: Model, questions: IO[bytes], out: IO[bytes]) -> None:
    while len(length := questions.read(_LENGTH.size)) == _LENGTH.size:
        blob = questions.read(*_LENGTH.unpack(length))
        out.write(_TAKEN)
        out.flush()
        out.write(_numbers(loaded, pickle.loads(blob)))  # noqa: S301  # written by the process that started this one
        out.flush()


def _numbers(loaded: Model, columns: Sequence[Column]) -> bytes:
    try:
        outputs = np.asarray(loaded.estimate(columns))
    except Exception:  # noqa: BLE001  # whatever a strange estimator raises, it is asked again where it can be told
        return _NOTHING
    if outputs.dtype.kind not in "fiu" or outputs.ndim not in (1, 2) or len(outputs) != len(columns[0]):
        return _NOTHING
    width = outputs.shape[1] if outputs.ndim > 1 else 0
    return _SHAPE.pack(len(outputs), width) + np.ascontiguousarray(outputs, np.float64).tobytes()


if __name__ == "__main__":
    main()
