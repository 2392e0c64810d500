"""Tables on the terminal and in bench/RESULTS.md, where each script owns one section."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine

RESULTS = Path(__file__).parent / "RESULTS.md"
_TITLE = """# Results

Written by the scripts in this folder. Figures are medians of rounds taken in turn (A B A B) within one run on one
machine, the load generator included; **ratios** are what can be compared, absolute figures belong to the machine and
its load.
"""


@dataclass
class Report:
    """One script's section: tables and remarks, with what they were measured on."""

    title: str
    began: str = field(default_factory=machine.load_average)
    about: list[str] = field(default_factory=machine.describe)
    parts: list[str] = field(default_factory=list)

    def table(self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table and print it."""
        lines = [f"**{caption}**", "", _row(columns), _row(["---"] * len(columns)), *map(_row, rows)]
        self.parts.append("\n".join(lines))
        print("\n".join(lines), flush=True)

    def remark(self, text: str) -> None:
        """Add a sentence and print it."""
        self.parts.append(text)
        print(text, flush=True)

    def write(self, path: Path = RESULTS) -> None:
        """Put the section into the file, in place of the one of an earlier run."""
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        busy = f"{day}; load average {self.began} before the run, {machine.load_average()} after it"
        facts = "\n".join(f"- {line}" for line in (*self.about, busy))
        section = "\n\n".join([f"## {self.title}", facts, *self.parts]) + "\n"
        old = path.read_text() if path.exists() else _TITLE
        mine = re.compile(rf"^## {re.escape(self.title)}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        rest = mine.sub("", old).rstrip("\n")
        path.write_text(f"{rest}\n\n{section}")


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    """Write a number with as many digits as it deserves."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split())
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
