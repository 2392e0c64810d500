"""The square that two measures are drawn in, as wide as high, and the words below it: what is what, named once."""

from __future__ import annotations

from collections.abc import Iterable

from api.plots import ink

Ends = tuple[float, float]
NARROW = 400  # as wide as half a page
_SIDE, _LEFT, _TOP = 320, 44, 34
_BOTTOM, _RIGHT = _TOP + _SIDE, _LEFT + _SIDE
UNIT = (0.0, 1.0)
SHOWN, DOTS, MORE, HELD_OUT, CHANCE = "shown", "dots", "more", "held out", "chance"
_SAMPLE, _LINE = 28, 20
_WORDS = _LEFT + _SAMPLE + 8


def scales(across: Ends = UNIT, up: Ends = UNIT) -> tuple[ink.Scale, ink.Scale]:
    """Give both scales: those of shares, unless told."""
    return ink.Scale(*across, _LEFT, _RIGHT), ink.Scale(*up, _BOTTOM, _TOP)


def axes(below: str, above: str, *, chance: bool | float, across: Ends = UNIT, up: Ends = UNIT) -> list[str]:
    """Draw both axes and, dashed, what is held against: the diagonal (both scales are one, then), or one height."""
    x, y = scales(across, up)
    start, end = (
        ((_LEFT, _BOTTOM), (_RIGHT, _TOP)) if chance is True else ((_LEFT, y(chance)), (_RIGHT, y(chance)))
    )
    parts = [ink.line(start, end, dashed=True), ink.text(0, 14, above)]
    for tick in ink.ticks(*up):
        parts.append(ink.text(_LEFT - 8, y(tick) + 4, ink.brief(tick), anchor="end", faint=True))
    for tick in ink.ticks(*across):
        parts.append(ink.text(x(tick), _BOTTOM + 18, ink.brief(tick), anchor="middle", faint=True))
    return [*parts, ink.text(_RIGHT, _BOTTOM + 36, below, anchor="end")]


def frame(title: str, description: str, parts: Iterable[str], lines: Iterable[tuple[str, str]]) -> str:
    """Put it together, with lines below that say what is drawn, each with a sample.

    SHOWN is a line in the accent, DOTS are dots, HELD_OUT is grey, CHANCE dashed; MORE goes on with the line before.
    An empty line is left out.
    """
    y = _BOTTOM + 64.0
    said = []
    for kind, words in lines:
        if words:
            said += [*_sample(y, kind), ink.text(_WORDS, y, words, faint=kind not in (SHOWN, DOTS))]
            y += _LINE
    return ink.frame(y, title, description, [*parts, *said], width=NARROW)


def _sample(y: float, kind: str) -> list[str]:
    start, end = (_WORDS - _SAMPLE - 8, y - 4), (_WORDS - 8, y - 4)
    if kind == MORE:
        return []
    if kind == DOTS:
        return [ink.dot((start[0] + end[0]) / 2, y - 4)]
    if kind == CHANCE:
        return [ink.line(start, end, dashed=True)]
    return [ink.curve([start, end], accent=kind == SHOWN)]
