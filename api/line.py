"""A door's line to the engine: one connection, many questions at once, answers matched by number.

When the connection breaks, everything that waits fails at once, and the next question tries to connect anew: a unix
socket that nobody listens on refuses immediately, so nobody waits for an engine that is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from api import wire
from api.calls import Answer
from api.problems import RequestRefused
from api.receipts import HEADER

_RETRY_S = "1"
LOOK_S = 0.1  # how late a deadline may be noticed


class EngineUnavailable(Exception):
    """The engine does not answer; whether the question had an effect is not known."""


class Line:
    """Asks the engine. Belongs to one event loop."""

    def __init__(self, socket: Path, answer_bytes: int, deadline_s: float) -> None:
        self._socket = socket
        self._limit = answer_bytes
        self._deadline_s = deadline_s
        self._writer: asyncio.StreamWriter | None = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._look: asyncio.TimerHandle | None = None
        self._out: list[bytes] = []
        self._number = 0
        self._listener: asyncio.Task[None] | None = None

    async def ask(
        self, head: Mapping[str, Any], body: bytes = b"", within_s: float | None = None
    ) -> wire.Frame:
        """Send one question and wait for its answer, `within_s` or as long as for a prediction.

        Raises:
            EngineUnavailable: nobody listens, the connection broke, or the deadline passed.
        """
        if self._writer is None:
            await self._connect()
        self._number = number = (self._number + 1) % wire.MAX_NUMBER
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[wire.Frame] = loop.create_future()
        until = loop.time() + (self._deadline_s if within_s is None else within_s)
        self._waiting[number] = _Waiting(answer, until)
        if self._look is None:
            self._look = loop.call_later(LOOK_S, self._expire)
        self._write(wire.encode(number, head, body))
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Hang up; what still waits fails."""
        if self._look is not None:
            self._look.cancel()
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener

    async def _connect(self) -> None:
        async with self._connecting:
            if self._writer is not None:
                return
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            except OSError as error:
                raise EngineUnavailable("nobody listens") from error
            self._writer = writer
            self._listener = asyncio.create_task(self._listen(reader, writer))

    def _expire(self) -> None:
        """Fail who waited too long, all at once: a timer for every question would cost each of them 5 µs."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for each in list(self._waiting.values()):
            if each.until <= now:
                each.fail("no answer within the deadline")
        self._look = loop.call_later(LOOK_S, self._expire) if self._waiting else None

    def _write(self, frame: bytes) -> None:
        # Questions of one turn of the event loop leave in one write: with 64 callers that saves most system calls.
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame)

    def _flush(self) -> None:
        frames, self._out = self._out, []
        if self._writer is not None:
            self._writer.write(b"".join(frames))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for frames in wire.groups(reader, self._limit):
                for frame in frames:
                    waiting = self._waiting.pop(frame.number, None)
                    if waiting is not None and not waiting.answer.done():
                        waiting.answer.set_result(frame)
        except (OSError, wire.FrameRefused):
            pass  # the same as the end of the stream: everybody who waits is told below
        finally:
            self._writer = None
            writer.close()
            self._fail()

    def _fail(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.fail("the connection broke")


class _Waiting(NamedTuple):
    """A question without an answer yet."""

    answer: asyncio.Future[wire.Frame]
    until: float  # of the event loop's clock

    def fail(self, reason: str) -> None:
        """Let whoever asked know that there will be none."""
        if not self.answer.done():
            self.answer.set_exception(EngineUnavailable(reason))


def unavailable(record: str | None = None) -> RequestRefused:
    """Say that the engine does not answer; with the id under which a request may or may not be on record."""
    detail = "ask again in a second"
    if record is not None:
        detail += f"; whether this request is on record shows at /v1/records/{record}"
    return RequestRefused("engine-unavailable", detail, Retry_After=_RETRY_S)


def recorded(frame: wire.Frame, root_path: str) -> Answer:
    """Turn what the engine answered into what the caller gets: a record's exact bytes with its proof, or a problem.

    The record is the engine's to name: a request that was sent again is answered with the record of the first.
    """
    status, headers = frame.head["status"], dict(frame.head.get("headers") or {})
    if status >= 400:
        return Answer(
            status=status, content=frame.body, media_type="application/problem+json", headers=headers
        )
    headers["Location"] = f"{root_path}/v1/records/{frame.head['record']}"
    if "receipt" in frame.head:
        headers[HEADER] = frame.head["receipt"]
    return Answer(status=status, content=frame.body, headers=headers)
