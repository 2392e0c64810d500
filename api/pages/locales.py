"""How numbers and times are written for whoever reads: digits grouped as the reader's language does, times in UTC.

Only what is shown is written so. What is entered, and every exact value, stays as programs write it.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from flask import Flask, has_request_context, request

_NARROW, _WIDE = "\u202f", "\u00a0"
# Between thousands, and before the fraction.
_ENGLISH = (",", ".")
_MARKS = {
    **dict.fromkeys(("en", "ja", "zh", "ko", "th", "he", "de-LI"), _ENGLISH),
    **dict.fromkeys(("de", "nl", "da", "es", "it", "pt", "tr", "id", "el", "ro", "hr", "sl"), (".", ",")),
    **dict.fromkeys(("sv", "nb", "nn", "no", "fi", "cs", "sk", "pl", "ru", "uk", "bg", "hu"), (_WIDE, ",")),
    **dict.fromkeys(("fr", "de-AT", "pt-PT"), (_NARROW, ",")),
    "de-CH": ("’", "."),
}
_LANGUAGES = list(_MARKS)
_WORDS = re.compile(r">[^<]+<")
# With thousands apart, or with a fraction; not within a name, and not a power of ten.
_NUMBER = re.compile(r"(?<![\w.,-])-?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+)(?![\w-]|[.,]\d)")
DIGITS = 5  # significant ones, of what is no whole number


def install(pages: Flask) -> None:
    """Give the templates their filters."""
    pages.jinja_env.filters.update(number=number, fixed=fixed, percent=percent, when=when, words=words)


def number(value: float, digits: int = DIGITS) -> str:
    """Write a number to so many significant digits."""
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return _marked(f"{int(value):,}")
    if not 1e-4 <= abs(value) < 1e15:
        return _marked(f"{value:.{digits - 1}g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return _marked(text.rstrip("0").rstrip(".") if "." in text else text)


def fixed(value: float, decimals: int = 4) -> str:
    """Write a number with so many decimals, zeros too: below one another, points stand in a line.

    What would look like nothing, and is something, is written to its own digits.
    """
    if not math.isfinite(value) or 0 < abs(value) < 0.5 * 10**-decimals:
        return number(value)
    return _marked(f"{value:,.{decimals}f}")


def drawn(svg: str) -> str:
    """Write the numbers in the words of a plot as the reader does; dates, names and what is drawn stay as they are."""
    return _WORDS.sub(lambda words: _NUMBER.sub(lambda found: _marked(found[0]), words[0]), svg)


def percent(value: float) -> str:
    """Write a share as a percentage; what is not quite none or all never looks as if it were."""
    if 0 < value < 0.001:
        return f"under {_marked('0.1')}{_WIDE}%"
    if 0.999 < value < 1:
        return f"over {_marked('99.9')}{_WIDE}%"
    return _marked(f"{value * 100:.1f}".removesuffix(".0")) + f"{_WIDE}%"


def when(text: str) -> str:
    """Write a time of the API for people, its zone said."""
    time = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    return f"{time.day} {time:%B %Y, %H:%M:%S} UTC"


def words(name: str) -> str:
    """Make words of a name: `capital_gain` is Capital gain."""
    text = name.replace("_", " ").replace("-", " ").strip()
    return text[:1].upper() + text[1:]


def _marked(text: str) -> str:
    group, point = _marks()
    return text.translate({ord(","): group, ord("."): point})


def _marks() -> tuple[str, str]:
    best: Any = None
    if has_request_context():
        best = request.accept_languages.best_match(_LANGUAGES)
    return _MARKS[best] if best else _ENGLISH
