"""What may be used once: remembered here, for all doors of this engine, until it is worth nothing anyway.

Memory only, so an engine that starts cannot know what the one before it has seen. It takes nothing that could have been
used before its own start: until a client's clock is past that moment, as far as clocks may differ, it says "ask again".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from api.engine import desk

MOST = 100_000  # of some 100 bytes each; they live for 80 seconds at most
AHEAD_S = 10  # how far the clock of whoever made it may be ahead of ours (LEEWAY_S of api/assertions.py)


class Once:
    """Names that were used, each with the second from which on nobody takes it."""

    def __init__(self, since_s: int) -> None:
        self._since_s = since_s
        self._until: dict[
            str, int
        ] = {}  # in order of use, and none lives long: the first ones are over first

    def answer(self, head: Mapping[str, Any], now_s: int) -> tuple[dict[str, Any], bytes]:
        """Use the `name` of what was made at `from_s` and is over at `until_s`; say whether it is the first time."""
        name, from_s, until_s = str(head["name"]), int(head["from_s"]), int(head["until_s"])
        if from_s <= self._since_s + AHEAD_S:
            detail = f"the engine has just started; sign anew {AHEAD_S} seconds after that"
            return desk.refusal("engine-unavailable", detail)
        self._forget(now_s)
        is_first = name not in self._until
        if is_first and len(self._until) >= MOST:
            return desk.refusal("overloaded", "too many clients sign in at once; ask again in a second")
        self._until.setdefault(name, until_s)
        return {"status": 200, "record": None, "headers": {}}, orjson.dumps({"first": is_first})

    def _forget(self, now_s: int) -> None:
        while self._until:
            name = next(iter(self._until))
            if self._until[name] > now_s:
                return
            del self._until[name]
