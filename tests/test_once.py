"""What was used once is remembered for as long as anybody would take it, and not by luck."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.assertions import LEEWAY_S
from api.engine import once
from api.engine.once import AHEAD_S, Once

START = 1_000_000
SOON = START + AHEAD_S + 1


def _use(known: Once, name: str, now_s: int, lives_s: int = 60) -> Any:
    head, body = known.answer({"name": name, "from_s": now_s, "until_s": now_s + lives_s}, now_s)
    return orjson.loads(body).get("first") if head["status"] == 200 else head["status"]


def test_the_second_time_is_not_the_first() -> None:
    """A name is good once, and beside any other."""
    known = Once(START)

    assert [_use(known, each, SOON) for each in ("a", "b", "a")] == [True, True, False]
    assert _use(known, "a", SOON + 59) is False


def test_what_is_over_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is for what could come again; when there is no more room, nothing is taken."""
    monkeypatch.setattr(once, "MOST", 2)
    known = Once(START)

    assert [_use(known, each, SOON) for each in ("a", "b", "c", "a")] == [True, True, 503, False]
    assert _use(known, "c", SOON + 60) is True


def test_what_an_engine_before_may_have_seen_is_not_taken() -> None:
    """Nothing that could be from before the start, by a clock as far ahead as doors allow, is taken."""
    known = Once(START)

    assert [_use(known, "a", each) for each in (START - 1, START, START + LEEWAY_S)] == [503, 503, 503]
    assert _use(known, "a", START + LEEWAY_S + 1) is True
    assert AHEAD_S == LEEWAY_S
