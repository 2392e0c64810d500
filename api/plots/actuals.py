"""How good a regressor is: what happened by what was answered, and how far off it was by the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api.plots import ink, square

_HALF = "the middle half"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Predictions of about one answer: both means, and the middle half of what happened and of the errors."""

    predicted: float
    actual: float
    actual_low: float
    actual_high: float
    error_low: float
    error_high: float
    n: int

    @property
    def error(self) -> float:
        """How far the answers were off on average; below zero they were too low."""
        return self.predicted - self.actual


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is in use, or what was held out of training: groups in the order of answers, and the mean absolute error."""

    groups: Sequence[Group]
    off: float | None = None


def actuals(shown: Side | None, held_out: Side | None = None) -> str:
    """Draw what happened against what was answered; on the dashed line it is as it was answered."""
    title = "Predicted and actual"
    read = shown or held_out
    if read is None:
        return _nothing(title)
    groups = _groups(shown, held_out)
    ends = _ends(
        each for one in groups for each in (one.predicted, one.actual_low, one.actual, one.actual_high)
    )
    x, y = square.scales(ends, ends)
    parts = square.axes("predicted", "actual", chance=True, across=ends, up=ends)
    if shown and held_out:
        parts += _line([(x(each.predicted), y(each.actual)) for each in held_out.groups], accent=False)
    for each in read.groups:
        at = x(each.predicted)
        parts.append(ink.line((at, y(each.actual_low)), (at, y(each.actual_high))))
        parts.append(ink.dot(at, y(each.actual), accent=read is shown, about=_about(each)))
    pairs = "; ".join(f"{ink.number(each.predicted)} was {ink.number(each.actual)}" for each in read.groups)
    said = f"Predicted and, on average, actual: {pairs}."
    return _framed(title, said, parts, (shown, held_out), (square.DOTS, "bars", "as it was answered"))


def residuals(shown: Side | None, held_out: Side | None = None) -> str:
    """Draw how far off answers were by what was answered: on average, and the middle half shaded."""
    title = "Errors"
    read = shown or held_out
    if read is None:
        return _nothing(title)
    groups = _groups(shown, held_out)
    across = _ends(each.predicted for each in groups)
    up = _ends([0.0, *(each for one in groups for each in (one.error_low, one.error, one.error_high))])
    x, y = square.scales(across, up)
    parts = square.axes("predicted", "answer less what happened", chance=0.0, across=across, up=up)
    if shown and held_out:
        parts += _line([(x(each.predicted), y(each.error)) for each in held_out.groups], accent=False)
    highs = [(x(each.predicted), y(each.error_high)) for each in read.groups]
    lows = [(x(each.predicted), y(each.error_low)) for each in reversed(read.groups)]
    parts += [
        ink.area([*highs, *lows]),
        *_line([(x(g.predicted), y(g.error)) for g in read.groups], accent=read is shown),
    ]
    pairs = "; ".join(
        f"at {ink.number(each.predicted)} {ink.number(each.error)}, "
        f"half from {ink.number(each.error_low)} to {ink.number(each.error_high)}"
        for each in read.groups
    )
    said = f"Answer less what happened, on average: {pairs}."
    return _framed(
        title,
        said,
        parts,
        (shown, held_out),
        (square.SHOWN, "shaded", "right; below it answers were too low"),
    )


def _line(points: Sequence[tuple[float, float]], *, accent: bool) -> list[str]:
    """Join points; of one there is no line."""
    return [ink.curve(points, accent=accent)] if len(points) > 1 else [ink.dot(*points[0], accent=accent)]


def _framed(
    title: str,
    said: str,
    parts: list[str],
    sides: tuple[Side | None, Side | None],
    words: tuple[str, str, str],
) -> str:
    """Say what is in use and what was held out, how the spread is drawn, and what the dashed line is."""
    shown, held_out = sides
    sample, spread, right = words
    live, before = _off("in use", shown), _off("held out of training", held_out)
    half = f"{spread}: {_HALF}"
    lines = (
        (sample, live),
        (square.MORE, f"{_count(shown)} predictions; {half}" if shown else ""),
        (square.HELD_OUT, before),
        (square.MORE, f"{_count(held_out)} rows; {half}" if held_out and not shown else ""),
        (square.CHANCE, right),
    )
    spoken = "; ".join(each for each in (live, before) if each)
    return square.frame(title, f"{spoken[0].upper()}{spoken[1:]}. {said}", parts, lines)


def _groups(*sides: Side | None) -> list[Group]:
    return [group for side in sides if side is not None for group in side.groups]


def _ends(values: Iterable[float]) -> square.Ends:
    """Give the least and the greatest, with a little room; around a single one, too."""
    known = list(values)
    low, high = min(known), max(known)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _off(where: str, side: Side | None) -> str:
    if side is None:
        return ""
    return where if side.off is None else f"{where}: off by {ink.number(side.off)} on average"


def _count(side: Side) -> str:
    return f"{sum(each.n for each in side.groups):,}"


def _about(group: Group) -> str:
    low, high = ink.number(group.actual_low), ink.number(group.actual_high)
    said = f"predicted {ink.number(group.predicted)}, actual {ink.number(group.actual)}"
    return f"{said}, half of {group.n:,} from {low} to {high}"


def _nothing(title: str) -> str:
    said = "There are too few outcomes yet."
    return ink.frame(60, title, said, [ink.text(0, 24, f"{title}: too few outcomes yet")])
