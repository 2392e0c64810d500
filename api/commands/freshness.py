"""How old the newest record is: a ledger that nobody adds to looks the same as one that is kept from growing.

The engine records a heartbeat where nothing else was (ONRECORD_HEARTBEAT_S), so that silence is never normal.
"""

from __future__ import annotations

import re
import time
from typing import Any

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType[int]):
    """A number with s, m, h or d behind it, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is no duration such as 90s, 30m, 2h or 1d", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


DURATION = _Duration()


def frozen(latest_us: int, within_s: int | None) -> str:
    """Say that the newest record is too old; empty where it is not, or nobody asked."""
    if within_s is None or (latest_us and time.time() - latest_us / 1e6 <= within_s):
        return ""
    return (
        f"FROZEN      the newest record is {shown(latest_us)}; nothing was added for more than {within_s} s"
    )


def shown(latest_us: int) -> str:
    """Write the age of the newest record."""
    if not latest_us:
        return "not there: the ledger is empty"
    age_s = max(0, round(time.time() - latest_us / 1e6))
    return f"{age_s // 3600} h {age_s % 3600 // 60} min {age_s % 60} s old"
