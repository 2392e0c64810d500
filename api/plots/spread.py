"""How values are spread: drift feature by feature, and one feature's distribution with a value marked in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from api.plots import ink

MOST_FEATURES = 40
MOST_CATEGORIES = 20
_NAMES, _END = 200, 520


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One feature, or the output: how far it drifted, and what is said of it."""

    name: str
    psi: float
    verdict: str


def drift(rows: Sequence[Row], *, watch: float, drifted: float) -> str:
    """Draw the PSI of each feature, the largest first, with the two thresholds from the model's contract."""
    title = "Drift of each feature (PSI)"
    if not rows:
        return ink.frame(60, title, "There is nothing to compare.", [ink.text(0, 24, "nothing to compare")])
    shown = sorted(rows, key=lambda row: -row.psi)[:MOST_FEATURES]
    x = ink.Scale(0, max(drifted * 1.2, shown[0].psi), _NAMES, _END)
    bottom = 40 + 22 * len(shown)
    parts = []
    # Each on its own side: beside a feature that moved far, the thresholds are close to each other.
    for threshold, name, side in ((watch, "watch", "end"), (drifted, "drifted", "start")):
        parts.append(ink.line((x(threshold), 34), (x(threshold), bottom), dashed=True))
        parts.append(ink.text(x(threshold), 14, name, anchor=side, faint=True))
        parts.append(ink.text(x(threshold), 28, ink.number(threshold), anchor=side, faint=True))
    for place, row in enumerate(shown):
        parts += _lollipop(row, 52 + 22 * place, x)
    if len(rows) > len(shown):
        parts.append(ink.text(0, bottom + 16, f"and {len(rows) - len(shown)} with less", faint=True))
    listed = "; ".join(f"{row.name} {ink.number(row.psi)} {row.verdict}" for row in shown)
    return ink.frame(bottom + 24, title, f"PSI and verdict, the largest first: {listed}.", parts)


def _lollipop(row: Row, y: float, x: ink.Scale) -> list[str]:
    is_quiet = row.verdict in ("stable", "too few")
    words = ink.number(row.psi) if row.verdict == "stable" else f"{ink.number(row.psi)} {row.verdict}"
    return [
        ink.text(_NAMES - 10, y + 4, ink.short(row.name, 28), anchor="end"),
        ink.line((_NAMES, y), (x(row.psi), y)),
        ink.dot(x(row.psi), y, accent=not is_quiet),
        ink.text(x(row.psi) + 10, y + 4, words, faint=is_quiet),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """One instance's value: a number or a category, and how it is called where it is marked."""

    value: float | str
    words: str = "this one"


def numbers(name: str, edges: Sequence[float], counts: Sequence[int], marked: Marked | None = None) -> str:
    """Draw how a numeric feature was spread in training, as a histogram of a manifest holds it: area is share."""
    title = f"Distribution of {name}"
    widths = [right - left for left, right in pairwise(edges)]
    if not sum(counts) or not widths:
        return ink.frame(
            60, title, "There is nothing to show.", [ink.text(0, 24, f"{name}: nothing to show")]
        )
    span = (edges[-1] - edges[0]) or 1.0
    x = ink.Scale(edges[0], edges[-1] if edges[-1] > edges[0] else edges[0] + 1, 20, 620)
    # A bin of no width holds one value: it is drawn as thin as can be seen.
    heights = [count / max(width, span / 300) for count, width in zip(counts, widths, strict=True)]
    y = ink.Scale(0, max(heights), 150, 40)
    parts = []
    for left, width, height, count in zip(edges, widths, heights, counts, strict=False):
        box = ink.Box(x(left), y(height), max(2.0, x(left + width) - x(left) - 1), 150 - y(height))
        about = f"{ink.number(left)} to {ink.number(left + width)}: {count:,}"
        parts.append(ink.bar(box, about=about))
    ticks = ink.ticks(edges[0], edges[-1])
    parts += [ink.text(x(tick), 168, ink.number(tick), anchor="middle", faint=True) for tick in ticks]
    share = _below(edges, counts, marked.value) if marked and isinstance(marked.value, int | float) else None
    said = f"Values from {ink.number(edges[0])} to {ink.number(edges[-1])}."
    if marked is not None and share is not None:
        parts += _mark(marked, x, share)
        said += f" {marked.words}: {_plain(marked.value)}, above {share:.0%} of them."
    return ink.frame(178, title, said, [ink.text(0, 14, name), *parts])


def _mark(marked: Marked, x: ink.Scale, share: float) -> list[str]:
    at = x(float(marked.value))
    anchor = "start" if at < 320 else "end"
    words = f"{marked.words}: {_plain(marked.value)}, above {share:.0%}"
    beside = at + (6 if anchor == "start" else -6)
    return [ink.curve([(at, 24), (at, 150)]), ink.text(beside, 32, words, anchor=anchor)]


def _below(edges: Sequence[float], counts: Sequence[int], value: float) -> float:
    """Say which share of training lies below a value, evenly spread within its bin."""
    below = 0.0
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        width = right - left
        inside = (value - left) / width if width else float(value > left)
        below += count * min(1.0, max(0.0, inside))
    return below / sum(counts)


def categories(name: str, names: Sequence[str], counts: Sequence[int], marked: Marked | None = None) -> str:
    """Draw how often training met each category, the most frequent first, with one of them marked."""
    title, total = f"Distribution of {name}", sum(counts)
    if not total:
        return ink.frame(
            60, title, "There is nothing to show.", [ink.text(0, 24, f"{name}: nothing to show")]
        )
    own = None if marked is None else str(marked.value)
    pairs = sorted(zip(names, counts, strict=True), key=lambda pair: -pair[1])
    shown = [pair for place, pair in enumerate(pairs) if place < MOST_CATEGORIES or pair[0] == own]
    if own is not None and own not in names:
        shown.append((own, 0))
    x = ink.Scale(0, max(counts), _NAMES, _END)
    parts = [ink.text(0, 14, name)]
    for place, (category, count) in enumerate(shown):
        y, is_own = 28 + 20 * place, category == own
        parts.append(ink.text(_NAMES - 10, y + 12, ink.short(category, 28), anchor="end"))
        parts.append(
            ink.bar(ink.Box(_NAMES, y, x(count) - _NAMES, 14), opacity=0.8 if is_own else 0.3, accent=is_own)
        )
        words = f"{count / total:.1%}" + (f" {marked.words}" if marked is not None and is_own else "")
        parts.append(ink.text(x(count) + 8, y + 12, words, faint=not is_own))
    bottom = 28 + 20 * len(shown)
    if len(shown) < len(pairs):
        parts.append(ink.text(0, bottom + 14, f"and {len(pairs) - len(shown)} rarer ones", faint=True))
    said = "; ".join(f"{category} {count / total:.1%}" for category, count in shown[:MOST_CATEGORIES])
    mine = "" if marked is None else f" {marked.words}: {own}."
    return ink.frame(bottom + 22, title, f"Shares of training, the most frequent first: {said}.{mine}", parts)


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.10g}"
