"""A process of its own for one question: it inherits nothing, says little, and is gone when its time is up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_READ_BYTES = 256 << 10


class ChildLate(Exception):
    """The time was up, and the process was ended."""


class ChildLost(Exception):
    """The process ended, or was ended, without an answer; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What to start for each question. It gets no descriptor of ours but the three it talks through, and no variable
    of the environment but these. `shows_errors`: what it writes to stderr goes to ours.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    most_bytes: int
    shows_errors: bool = False

    async def ask(self, question: bytes, within_s: float) -> bytes:
        """Start a process, write the question to it and return all it says; it does not outlive this call.

        Raises:
            ChildLate, ChildLost: there is no answer.
            OSError: it could not be started.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=None if self.shows_errors else DEVNULL,
            cwd=ROOT,
            env=self.environment,
            start_new_session=True,  # a group of its own, so that what it may have started ends with it
        )
        try:
            async with asyncio.timeout(within_s):
                return await _exchange(process, question, self.most_bytes)
        except TimeoutError as late:
            raise ChildLate from late
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def _exchange(process: Process, question: bytes, most_bytes: int) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):  # one that died while it was asked: its exit code says more
        process.stdin.write(question)
        await process.stdin.drain()
    process.stdin.close()
    answer = bytearray()
    while piece := await process.stdout.read(_READ_BYTES):
        answer += piece
        if len(answer) > most_bytes:
            raise ChildLost(f"it said more than {most_bytes} bytes")
    code = await process.wait()
    if code != 0:
        raise ChildLost(f"it ended with exit code {code}")
    return bytes(answer)
