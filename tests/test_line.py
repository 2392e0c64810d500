"""A door's line to the engine, against one that is slow, silent, or gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api import wire
from api.line import EngineUnavailable, Line

LONG_S = 60.0


@asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[Line]:
    """Serve a line whose other end answers `ask` at once, and keeps silent about everything else until `hang up`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            async for frames in wire.groups(reader, 1000):
                for frame in frames:
                    if frame.head["do"] == "hang up":
                        return
                    if frame.head["do"] == "ask":
                        writer.write(wire.encode(frame.number, {"status": 200}, frame.body))

    server = await asyncio.start_unix_server(serve, path=folder / "line")
    line = Line(folder / "line", 1000, LONG_S)
    try:
        yield line
    finally:
        await line.close()
        server.close()
        await server.wait_closed()


def test_who_waits_too_long_is_told_and_nobody_else(tmp_path: Path) -> None:
    """A deadline ends its own question: one with a later deadline still waits, and the line answers on."""

    async def asking() -> None:
        async with engine(tmp_path) as line:
            patient = asyncio.create_task(line.ask({"do": "keep silent"}))
            with pytest.raises(EngineUnavailable, match="within the deadline"):
                await line.ask({"do": "keep silent"}, within_s=0.05)
            assert not patient.done()
            assert (await line.ask({"do": "ask"}, b"who")).body == b"who"
            patient.cancel()

    asyncio.run(asyncio.wait_for(asking(), LONG_S))


def test_deadlines_are_kept_again_after_a_rest(tmp_path: Path) -> None:
    """When nobody waits nobody looks at the clock; the next question is looked after as the first."""

    async def asking() -> None:
        async with engine(tmp_path) as line:
            for _ in range(2):
                await line.ask({"do": "ask"})
                while line._look is not None:
                    await asyncio.sleep(0.01)
                with pytest.raises(EngineUnavailable, match="within the deadline"):
                    await line.ask({"do": "keep silent"}, within_s=0.05)

    asyncio.run(asyncio.wait_for(asking(), LONG_S))


def test_a_line_that_breaks_fails_everybody_at_once(tmp_path: Path) -> None:
    """Nobody waits for an engine that is gone, and the next question connects anew."""

    async def asking() -> None:
        async with engine(tmp_path) as line:
            waiting = [asyncio.create_task(line.ask({"do": "keep silent"})) for _ in range(3)]
            with pytest.raises(EngineUnavailable, match="broke"):
                await line.ask({"do": "hang up"})
            for each in waiting:
                with pytest.raises(EngineUnavailable, match="broke"):
                    await each
            assert (await line.ask({"do": "ask"}, b"again")).body == b"again"

    asyncio.run(asyncio.wait_for(asking(), LONG_S))
