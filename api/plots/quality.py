"""How good a classifier is: calibration and the confusion of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.plots import ink, square

# Nine labels are 81 cells; rarer ones are shown together.
MOST_LABELS, _FEW = 9, 3
NOTHING = "There are no outcomes yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of about one probability: its mean, how often it was so, and between which shares that may lie."""

    predicted: float
    observed: float
    n: int
    low: float | None = None
    high: float | None = None


def calibration(bins: Sequence[Bin], held_out: Sequence[Bin] = ()) -> str:
    """Draw how often it was so against how probable it was said to be; on the dashed line it is as it was said."""
    title = "Calibration: predicted and observed"
    if not bins and not held_out:
        return ink.frame(60, title, NOTHING, [ink.text(0, 24, f"{title}: no outcomes yet")])
    x, y = square.scales()
    parts = [*square.axes("predicted probability", "observed share", chance=True)]
    if held_out:
        parts.append(ink.curve([(x(each.predicted), y(each.observed)) for each in held_out], accent=False))
    for each in bins:
        if each.low is not None and each.high is not None:
            parts.append(ink.line((x(each.predicted), y(each.low)), (x(each.predicted), y(each.high))))
        said = f"predicted {ink.number(each.predicted)}, observed {ink.number(each.observed)} of {each.n:,}"
        parts.append(ink.dot(x(each.predicted), y(each.observed), about=said))
    live = f"in use: off by {ink.number(_error(bins))} on average" if bins else ""
    within = f"{sum(each.n for each in bins):,} predictions; bars: 95 %" if bins else ""
    before = f"held out of training: off by {ink.number(_error(held_out))}" if held_out else ""
    lines = (
        (square.SHOWN, live),
        (square.MORE, within),
        (square.HELD_OUT, before),
        (square.CHANCE, "as it was said"),
    )
    pairs = "; ".join(
        f"{ink.number(each.predicted)} was {ink.number(each.observed)}" for each in bins or held_out
    )
    spoken = "; ".join(each for each in (live, before) if each)
    spoken = f"{spoken[0].upper()}{spoken[1:]}. Predicted probability and observed share: {pairs}."
    return square.frame(title, spoken, parts, lines)


def _error(bins: Sequence[Bin]) -> float:
    return sum(each.n * abs(each.predicted - each.observed) for each in bins) / max(
        1, sum(each.n for each in bins)
    )


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw how often a label (a row) was answered by each (the columns), shaded by its share of the row."""
    title = "Confusion matrix"
    if not labels or not sum(map(sum, counts)):
        return ink.frame(60, title, NOTHING, [ink.text(0, 24, f"{title}: no outcomes yet")])
    labels, counts = _fewer(labels, counts)
    left, is_narrow = 150, len(labels) <= _FEW
    size = min(105.0, 240 / len(labels)) if is_narrow else min(64.0, 480 / len(labels))
    top = 46
    parts = [
        ink.text(left, 14, "answered"),
        ink.text(left - 8, top - 8, "was", anchor="end"),
    ]
    for place, label in enumerate(labels):
        middle = left + (place + 0.5) * size
        parts.append(
            ink.text(middle, top - 8, ink.short(label, int(size / 6.5)), anchor="middle", faint=True)
        )
        parts.append(
            ink.text(left - 8, top + (place + 0.5) * size / 2 + 4, ink.short(label, 20), anchor="end")
        )
        parts += _cells(counts[place], (left, top + place * size / 2), size, place)
    right = sum(counts[place][place] for place in range(len(labels)))
    rows = "; ".join(
        f"{label}: {counts[place][place]:,} of {sum(counts[place]):,} right"
        for place, label in enumerate(labels)
    )
    said = f"{right:,} of {sum(map(sum, counts)):,} are right. {rows}."
    width = square.NARROW if is_narrow else ink.WIDTH
    return ink.frame(top + len(labels) * size / 2 + 10, title, said, parts, width=width)


def _cells(row: Sequence[int], corner: tuple[float, float], size: float, own: int) -> list[str]:
    (left, top), total = corner, max(1, sum(row))
    parts = []
    for place, count in enumerate(row):
        box = ink.Box(left + place * size + 1, top + 1, size - 2, size / 2 - 2)
        parts.append(ink.bar(box, opacity=0.45 * count / total, accent=place != own))
        middle = left + (place + 0.5) * size
        parts.append(ink.text(middle, top + size / 4 + 4, f"{count:,}", anchor="middle"))
    return parts


def _fewer(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> tuple[list[str], list[list[int]]]:
    """Keep the most frequent labels, and put the others together."""
    places = range(len(labels))
    if len(labels) <= MOST_LABELS:
        return list(labels), [list(row) for row in counts]
    often = sorted(places, key=lambda place: -sum(counts[place]))
    kept, rest = sorted(often[: MOST_LABELS - 1]), often[MOST_LABELS - 1 :]
    groups = [*([place] for place in kept), rest]
    summed = [[sum(counts[a][b] for a in rows for b in columns) for columns in groups] for rows in groups]
    return [*(labels[place] for place in kept), "others"], summed
