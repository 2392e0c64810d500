"""Large bodies are read beside the event loop of a door, in turn: who sends them keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

from api import bodies, contract, large, operations
from api.app import CONTRACT
from api.problems import RequestRefused
from tests.engines import PATIENCE_S

AGREED = contract.read(CONTRACT, 20)


async def nobody(*_: object) -> None:
    """Stand for the handler, where a request does not get there."""
    raise AssertionError("it was let through")


async def sent(operation: operations.Checked, raw: bytes) -> None:
    """Send a body to one operation, past connections, tokens and routing."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw}

    headers = [(b"content-length", str(len(raw)).encode()), (b"content-type", b"application/json")]
    await operation({"headers": headers, "query_string": b"", "extensions": {}}, receive, nobody)


def test_large_bodies_are_read_beside_the_event_loop_and_in_turn() -> None:
    """While one is read, others are served; a second one waits for the first, however many are sent."""
    gate, reader = threading.Event(), large.Reader()
    begun: list[str] = []

    def whole(name: str) -> bool:
        begun.append(name)
        return gate.wait(PATIENCE_S)

    async def served() -> list[bool]:
        reading = [asyncio.create_task(reader.read(functools.partial(whole, name))) for name in "ab"]
        while not begun:
            await asyncio.sleep(0.001)
        assert begun == ["a"]
        gate.set()
        return await asyncio.gather(*reading)

    assert asyncio.run(served()) == [True, True]
    assert begun == ["a", "b"]


@pytest.mark.parametrize("raw", [b'{"instances":[{"age":"x"}]}', b'{"instances":[{"age":1,"age":1}]}'])
@pytest.mark.parametrize("size", [0, large.LARGE_BYTES])
def test_what_a_door_reads_of_large_bodies_it_reads_there(
    raw: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body from which nothing is cut, and one that the engine hands back, is no work for the event loop."""
    threads: list[str] = []
    honest = bodies.read_json

    def noted(content: bytes) -> Any:
        threads.append(threading.current_thread().name)
        return honest(content)

    monkeypatch.setattr(operations, "read_json", noted)
    operation = operations.Checked(
        nobody, "predictions.create_housing", operations.Declared.by(AGREED, 1 << 20)
    )
    with pytest.raises(RequestRefused):
        asyncio.run(sent(operation, raw + b" " * size))

    assert [each.startswith("large") for each in threads] == [size > 0]
