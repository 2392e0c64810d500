"""The unit square that probabilities and rates are drawn in, and the words beside it: what is what, named once."""

from __future__ import annotations

from api.plots import ink

_SIDE, _LEFT, _TOP = 240, 48, 34
_BOTTOM, _RIGHT = _TOP + _SIDE, _LEFT + _SIDE
HEIGHT = _BOTTOM + 44
_WORDS, _SAMPLE, _LINE = _RIGHT + 56, 28, 20


def scales() -> tuple[ink.Scale, ink.Scale]:
    """Give both scales, from 0 to 1."""
    return ink.Scale(0, 1, _LEFT, _RIGHT), ink.Scale(0, 1, _BOTTOM, _TOP)


def axes(below: str, above: str, *, chance: bool | float) -> list[str]:
    """Draw both axes and, dashed, what chance would give: the diagonal, or one height."""
    x, y = scales()
    start, end = (
        ((_LEFT, _BOTTOM), (_RIGHT, _TOP)) if chance is True else ((_LEFT, y(chance)), (_RIGHT, y(chance)))
    )
    parts = [ink.line(start, end, dashed=True), ink.text(0, 14, above)]
    for share in (0, 0.5, 1):
        parts.append(ink.text(_LEFT - 8, y(share) + 4, ink.number(share), anchor="end", faint=True))
        parts.append(ink.text(x(share), _BOTTOM + 18, ink.number(share), anchor="middle", faint=True))
    return [*parts, ink.text(_RIGHT, _BOTTOM + 36, below, anchor="end")]


def beside(shown: str, more: str, *, held_out: str, chance: str) -> list[str]:
    """Say what is drawn: in the accent what is shown, in grey the held-out rows, dashed what is held against both."""
    y = _TOP + 12.0
    parts = [*_sample(y, "shown"), ink.text(_WORDS, y, shown)]
    y += _LINE
    parts.append(ink.text(_WORDS, y, more, faint=True))
    y += _LINE * 1.5
    if held_out:
        parts += [
            *_sample(y, "held out"),
            ink.text(_WORDS, y, f"held out of training: {held_out}", faint=True),
        ]
        y += _LINE
    return [*parts, *_sample(y, "chance"), ink.text(_WORDS, y, chance, faint=True)]


def _sample(y: float, kind: str) -> list[str]:
    start, end = (_WORDS - _SAMPLE - 8, y - 4), (_WORDS - 8, y - 4)
    return (
        [ink.curve([start, end], accent=kind == "shown")]
        if kind != "chance"
        else [ink.line(start, end, dashed=True)]
    )
