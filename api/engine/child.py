"""Processes that the engine starts; and one of its own for one question, which is gone when its time is up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

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
        process = self._started()
        try:
            async with asyncio.timeout(within_s):
                return await _exchange(process, question, self.most_bytes)
        except TimeoutError as late:
            raise ChildLate from late
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.to_thread(process.wait)

    def _started(self) -> Popen[bytes]:
        return start(
            self.command,
            self.environment,
            stderr=None if self.shows_errors else DEVNULL,
            start_new_session=True,  # a group of its own, so that what it may have started ends with it
        )


def start(command: Sequence[str], environment: Mapping[str, str], **more: Any) -> Popen[bytes]:
    """Start a process by vfork, which the event loop's own way does not, with pipes to talk through.

    A fork copies the engine's page tables while nobody is answered, and then every page it touches faults once.
    """
    pipes: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE, "bufsize": 0}
    return Popen(command, cwd=ROOT, env=environment, **pipes, **more)  # noqa: S603  # no shell, and nobody's words but ours


async def hear(process: Popen[bytes], most_bytes: int) -> tuple[asyncio.ReadTransport, asyncio.StreamReader]:
    """Read what a process says; `most_bytes` of it wait, or are a line. Whoever hears closes the transport."""
    loop, saying = asyncio.get_running_loop(), asyncio.StreamReader(limit=most_bytes)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(saying), process.stdout)
    return transport, saying


async def _exchange(process: Popen[bytes], question: bytes, most_bytes: int) -> bytes:
    receiving, saying = await hear(process, _READ_BYTES)
    sending, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, process.stdin)
    try:
        sending.write(question)
        sending.close()  # once it is written; of one that died while it was asked, its exit code says more
        answer = bytearray()
        while piece := await saying.read(_READ_BYTES):
            answer += piece
            if len(answer) > most_bytes:
                raise ChildLost(f"it said more than {most_bytes} bytes")
    finally:
        receiving.close()
    code = await asyncio.to_thread(process.wait)
    if code != 0:
        raise ChildLost(f"it ended with exit code {code}")
    return bytes(answer)
