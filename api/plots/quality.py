"""How good a classifier is: calibration, ROC, and the confusion of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.plots import ink

# Nine labels are 81 cells; rarer ones are shown together.
MOST_LABELS = 9
MOST_POINTS = 200
_SIDE, _LEFT, _TOP = 240, 48, 34
_BOTTOM, _RIGHT = _TOP + _SIDE, _LEFT + _SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of about one probability: its mean, how often it was so, and between which shares that may lie."""

    predicted: float
    observed: float
    n: int
    low: float | None = None
    high: float | None = None


def calibration(bins: Sequence[Bin]) -> str:
    """Draw how often it was so against how probable it was said to be; on the dashed line it is as it was said."""
    title = "Calibration: predicted and observed"
    if not bins:
        return _nothing(title)
    x, y = _unit()
    parts = [*_square(x, y, "predicted probability", "observed share")]
    for each in bins:
        if each.low is not None and each.high is not None:
            parts.append(ink.line((x(each.predicted), y(each.low)), (x(each.predicted), y(each.high))))
        said = f"predicted {ink.number(each.predicted)}, observed {ink.number(each.observed)} of {each.n:,}"
        parts.append(ink.dot(x(each.predicted), y(each.observed), about=said))
    total = sum(each.n for each in bins)
    error = sum(each.n * abs(each.predicted - each.observed) for each in bins) / max(1, total)
    parts.append(ink.text(_RIGHT + 16, _TOP + 12, f"off by {ink.number(error)} on average"))
    parts.append(ink.text(_RIGHT + 16, _TOP + 30, f"{total:,} predictions", faint=True))
    pairs = "; ".join(f"{ink.number(each.predicted)} was {ink.number(each.observed)}" for each in bins)
    said = f"Predicted probability and observed share: {pairs}. Off by {ink.number(error)} on average."
    return ink.frame(_BOTTOM + 44, title, said, parts)


def roc(points: Sequence[tuple[float, float]], auc: float) -> str:
    """Draw true positives against false ones, for pairs (false positive rate, true positive rate) in their order."""
    title = "ROC curve"
    if not points:
        return _nothing(title)
    x, y = _unit()
    step = 1 + (len(points) - 1) // MOST_POINTS
    shown = [*points[:-1:step], points[-1]]
    parts = [*_square(x, y, "false positive rate", "true positive rate")]
    parts.append(ink.curve([(x(false), y(true)) for false, true in shown]))
    parts.append(ink.text(_RIGHT + 16, _TOP + 12, f"area {ink.number(auc)}"))
    parts.append(ink.text(_RIGHT + 16, _TOP + 30, "dashed: by chance, 0.5", faint=True))
    return ink.frame(
        _BOTTOM + 44, title, f"The area under the curve is {ink.number(auc)}; 0.5 is chance.", parts
    )


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw how often a label (a row) was answered by each (the columns), shaded by its share of the row."""
    title = "Confusion matrix"
    if not labels or not sum(map(sum, counts)):
        return _nothing(title)
    labels, counts = _fewer(labels, counts)
    left, size = 150, min(64.0, 480 / len(labels))
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
    return ink.frame(top + len(labels) * size / 2 + 10, title, said, parts)


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


def _unit() -> tuple[ink.Scale, ink.Scale]:
    return ink.Scale(0, 1, _LEFT, _RIGHT), ink.Scale(0, 1, _BOTTOM, _TOP)


def _square(x: ink.Scale, y: ink.Scale, below: str, above: str) -> list[str]:
    parts = [ink.line((_LEFT, _BOTTOM), (_RIGHT, _TOP), dashed=True), ink.text(0, 14, above)]
    for share in (0, 0.5, 1):
        parts.append(ink.text(_LEFT - 8, y(share) + 4, ink.number(share), anchor="end", faint=True))
        parts.append(ink.text(x(share), _BOTTOM + 18, ink.number(share), anchor="middle", faint=True))
    return [*parts, ink.text(_RIGHT, _BOTTOM + 36, below, anchor="end")]


def _nothing(title: str) -> str:
    return ink.frame(60, title, "There are no outcomes yet.", [ink.text(0, 24, f"{title}: no outcomes yet")])
