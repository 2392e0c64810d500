"""A process that is started for one question answers it, is bounded, leaves nothing behind, and copies no engine."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import psutil
import pytest
import uvloop

from api.engine.child import Child, ChildLate, ChildLost

ENDLESS_S = 60.0
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def child(program: str, most_bytes: int = 64 << 20) -> Child:
    return Child(command=(sys.executable, "-c", program), environment={}, most_bytes=most_bytes)


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())",
        "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)",
    ],
)
def test_a_long_question_gets_a_long_answer(run: Run, program: str) -> None:
    """Ten megabytes go in and come out, whether it answers at the end or as it reads."""
    question, before = bytes(range(256)) * 40_000, psutil.Process().children()

    assert question == run(child(program).ask(question, ENDLESS_S))
    assert before == psutil.Process().children()


@pytest.mark.parametrize(
    ("program", "within_s", "expected"),
    [
        ("import sys; sys.exit(3)", ENDLESS_S, ChildLost),
        ("print('x' * 100_000)", ENDLESS_S, ChildLost),
        ("import os, time; os.close(1); time.sleep(600)", 0.2, ChildLate),
        ("import time; time.sleep(600)", 0.2, ChildLate),
    ],
)
def test_who_gives_no_answer_is_gone(program: str, within_s: float, expected: type[Exception]) -> None:
    """One that fails, says too much or takes too long is an error, and no process is left."""
    before = psutil.Process().children()

    with pytest.raises(expected):
        uvloop.run(child(program, most_bytes=1000).ask(bytes(1 << 20), within_s))

    assert before == psutil.Process().children()


def test_starting_it_does_not_copy_the_engine() -> None:
    """No page of the one that asks has to be fetched again: it is not forked."""
    engine = bytearray(64 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    uvloop.run(child("pass").ask(b"", ENDLESS_S))
    engine[::4096] = bytes(len(engine) // 4096)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < len(engine) // 4096 // 4
