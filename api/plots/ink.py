"""What every plot is drawn with: escaped elements, scales, ticks, and the frame with its text alternative.

Little ink: no boxes, no grid, no legend; whatever is drawn is named where it is. Grey is the page's own
colour, thinned; the one accent can be told from black and from white, and never says anything that no word says, too.
"""

from __future__ import annotations

import html
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ACCENT = "#d9480f"  # 4.3:1 on white, 4.9:1 on black: WCAG 2.2, 1.4.11 asks for 3:1
FAINT = "0.6"
WIDTH = 640
MEDIA_TYPE = "image/svg+xml"
# Characters that XML 1.0 cannot hold, escaped or not.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Without a ground: alone, a browser gives it that of the scheme; as an image of a page, it is the page's.
_ALONE = "<style>svg{color-scheme:light dark;color:CanvasText}</style>"


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps what is measured, from `low` to `high`, to where it is drawn."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def frame(height: float, title: str, description: str, parts: Iterable[str], *, width: float = WIDTH) -> str:
    """Put a drawing together under its title and the sentence that says what it shows."""
    body = "".join(parts)
    # Several plots share a page: their ids must differ.
    mark = f"p{zlib.crc32((title + description + body).encode()):08x}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" role="img" '
        f'aria-labelledby="{mark}t {mark}d" font-family="system-ui,sans-serif" font-size="12" fill="currentColor">'
        f'<title id="{mark}t">{escaped(title)}</title><desc id="{mark}d">{escaped(description)}</desc>{body}</svg>'
    )


def file(svg: str) -> bytes:
    """Make a document of it, light or dark as the reader's system is."""
    head, _, rest = svg.partition("</desc>")
    return f"{head}</desc>{_ALONE}{rest}\n".encode()


def escaped(text: str) -> str:
    """Write text so that it is text, whatever stands in it."""
    return html.escape(_ILLEGAL.sub("\ufffd", text))


def text(x: float, y: float, content: str, *, anchor: str = "start", faint: bool = False) -> str:
    """Write a word; y is its baseline."""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    tone = f' opacity="{FAINT}"' if faint else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{place}{tone}>{escaped(content)}</text>'


def line(start: tuple[float, float], end: tuple[float, float], *, dashed: bool = False) -> str:
    """Draw a thin grey line."""
    dashes = ' stroke-dasharray="3 3"' if dashed else ""
    x, y, right, bottom = map(_n, (*start, *end))
    return f'<line x1="{x}" y1="{y}" x2="{right}" y2="{bottom}" stroke="currentColor" opacity="{FAINT}"{dashes}/>'


def curve(points: Sequence[tuple[float, float]], *, accent: bool = True) -> str:
    """Draw what is shown, in the accent, or what it is held against, in grey."""
    look = f'stroke="{ACCENT}" stroke-width="2"' if accent else f'stroke="currentColor" opacity="{FAINT}"'
    return f'<polyline points="{_joined(points)}" fill="none" {look}/>'


def area(points: Sequence[tuple[float, float]]) -> str:
    """Shade what lies between: an interval."""
    return f'<polygon points="{_joined(points)}" opacity="0.15"/>'


def dot(x: float, y: float, *, accent: bool = True, about: str = "") -> str:
    """Set a point; `about` is shown where a pointer rests on it."""
    colour = f' fill="{ACCENT}"' if accent else f' opacity="{FAINT}"'
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="4"{colour}>{_about(about)}</circle>'


@dataclass(frozen=True, slots=True)
class Box:
    """A bar: its corner, and how far it reaches."""

    x: float
    y: float
    width: float
    height: float


def bar(box: Box, *, opacity: float = 0.3, accent: bool = False, about: str = "") -> str:
    """Fill a box."""
    colour = f' fill="{ACCENT}"' if accent else ""
    x, y, width, height = map(_n, (box.x, box.y, box.width, box.height))
    size = f'width="{width}" height="{height}"'
    return f'<rect x="{x}" y="{y}" {size}{colour} opacity="{opacity:.2f}">{_about(about)}</rect>'


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Choose round numbers within, about so many: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if span / step <= about)
    return [
        step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def number(value: float) -> str:
    """Write a number as a reader wants it: three digits that count, no exponent unless it must be."""
    rounded = f"{value:.3g}"
    return f"{float(rounded):,.0f}" if "e" in rounded and abs(value) < 1e15 and abs(value) >= 1 else rounded


def brief(value: float) -> str:
    """Write a number beside an axis, where room is for five characters: thousands, millions and billions are cut."""
    for power, mark in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(value) >= 10 * power:
            return f"{number(value / power)}{mark}"
    return number(value)


def short(text: str, most: int) -> str:
    """Cut a long name where it would run into the drawing; the whole of it stands in the description."""
    return text if len(text) <= most else f"{text[: max(1, most - 1)]}…"


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _about(content: str) -> str:
    return f"<title>{escaped(content)}</title>" if content else ""
