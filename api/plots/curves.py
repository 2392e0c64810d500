"""How well a classifier tells two labels apart, wherever the line is drawn: ROC, and precision against recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.plots import ink, square

_TOLD = (0.05, 0.1, 0.2, 0.5)  # where a curve is read out


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points in their order, and the area below all of them; `low` to `high` is its interval of 95 %, of `n` rows."""

    points: Sequence[tuple[float, float]]
    area: float
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What a curve is called, what the area below it is, and what chance would give."""

    title: str
    area: str
    chance: str


def roc(shown: Curve | None, held_out: Curve | None = None) -> str:
    """Draw true positives against false ones, of what is in use and of the rows held out of training, or of either."""
    read = shown or held_out
    if read is None:
        return _nothing("ROC curve")
    readings = [f"at {ink.number(each)} it is {ink.number(_at(read.points, each))}" for each in _TOLD]
    said = f"Of the false positive rate, the true positive rate: {', '.join(readings)}."
    parts = square.axes("false positive rate", "true positive rate", chance=True)
    words = _Words(title="ROC curve", area="area", chance="by chance: area 0.5")
    return _drawn(words, said, parts, (shown, held_out))


def precision_recall(shown: Curve | None, held_out: Curve | None = None) -> str:
    """Draw the precision against the recall; chance would give the share of positive ones, whatever the recall."""
    read = shown or held_out
    if read is None:
        return _nothing("Precision and recall")
    share = read.points[-1][1]  # of positive ones among all: at the end all count as positive
    readings = [f"{ink.number(precision)} at {ink.number(recall)}" for recall, precision in _few(read.points)]
    said = f"Precision at a recall: {', '.join(readings)}."
    parts = square.axes("recall", "precision", chance=share)
    chance = f"by chance: {ink.number(share)}, the share of positive ones"
    words = _Words(title="Precision and recall", area="average precision", chance=chance)
    return _drawn(words, said, parts, (shown, held_out))


def _drawn(words: _Words, said: str, parts: list[str], both: tuple[Curve | None, Curve | None]) -> str:
    x, y = square.scales()
    shown, held_out = both
    for each, accent in ((held_out, False), (shown, True)):
        if each is not None:
            parts.append(ink.curve([(x(across), y(up)) for across, up in each.points], accent=accent))
    live = "" if shown is None else f"in use: {words.area} {ink.number(shown.area)}"
    within = "" if shown is None else _within(shown)
    before = "" if held_out is None else f"held out of training: {words.area} {ink.number(held_out.area)}"
    lines = (
        (square.SHOWN, live),
        (square.MORE, within),
        (square.HELD_OUT, before),
        (square.CHANCE, words.chance),
    )
    spoken = "; ".join(each for each in (live and f"{live}, {within}", before, words.chance) if each)
    return square.frame(words.title, f"{spoken[0].upper()}{spoken[1:]}. {said}", parts, lines)


def _within(shown: Curve) -> str:
    if shown.low is None or shown.high is None:
        return f"{shown.n:,} predictions"
    return f"{ink.number(shown.low)} to {ink.number(shown.high)} (95 %), {shown.n:,} predictions"


def _at(points: Sequence[tuple[float, float]], place: float) -> float:
    """Read a curve at a place, on the line between its points."""
    before = max(number for number, (across, _) in enumerate(points) if across <= place)
    (left, low), (right, high) = points[before], points[min(before + 1, len(points) - 1)]
    return low + (high - low) * (place - left) / (right - left) if right > left else low


def _few(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Choose the points at which the recall first reaches a quarter, a half, three quarters and all."""
    found = (next((each for each in points if each[0] >= place), None) for place in (0.25, 0.5, 0.75, 1))
    return list(dict.fromkeys(each for each in found if each is not None))


def _nothing(title: str) -> str:
    said = "There are too few outcomes yet, or all are of one label."
    return ink.frame(
        60, title, said, [ink.text(0, 24, f"{title}: too few outcomes yet, or all of one label")]
    )
