"""Where the values of one instance lie among those a version was trained on, as pictures to take in at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.pages.locales import number, percent

WIDTH, HEIGHT = 160.0, 30.0
COARSE = 0.15  # beyond, to guess where inside a bin the rows lie would be to invent


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a picture, in its own units."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """One value beside the training data: bars and a mark, or a share; `text` says the same."""

    text: str
    bars: Sequence[Bar] = ()
    mark: float | None = None
    share: float | None = None


def of(profile: Mapping[str, Any], value: Any) -> Insight | None:
    """Compare a value with a feature's profile; None where nothing is known to compare with."""
    histogram = profile.get("histogram")
    if histogram is None or value is None or not sum(histogram["counts"]):
        return None
    if "categories" in profile:
        return _category(profile, histogram["counts"], value)
    try:
        return _number(histogram["edges"], histogram["counts"], float(value))
    except ValueError:
        return None


def _category(profile: Mapping[str, Any], counts: Sequence[int], value: Any) -> Insight:
    seen = dict(zip(profile["categories"], counts, strict=False)).get(str(value), 0)
    share = seen / sum(counts)
    text = f"{percent(share)} of the training data" if seen else "never in the training data"
    return Insight(text=text, share=share)


def _number(edges: Sequence[float], counts: Sequence[int], value: float) -> Insight:
    low, high = edges[0], edges[-1]
    if value < low or value > high:
        text = "lower than all training data" if value < low else "higher than all training data"
    else:
        text = _within(edges, counts, value)
    span = (high - low) or 1.0
    mark = min(max((value - low) / span, 0.0), 1.0) * WIDTH
    return Insight(text=text, bars=_bars(edges, counts, span), mark=mark)


def _within(edges: Sequence[float], counts: Sequence[int], value: float) -> str:
    """Say how much is lower, or, where the value's bin is too full to tell, how full it is."""
    place = min(bisect_right(edges, value), len(counts)) - 1
    left, right, share = edges[place], edges[place + 1], counts[place] / sum(counts)
    if share > COARSE:
        return f"between {number(left)} and {number(right)}, like {percent(share)} of the training data"
    lower = (sum(counts[:place]) + counts[place] * (value - left) / (right - left)) / sum(counts)
    if lower < 0.005:
        return "among the lowest of the training data"
    if lower > 0.995:
        return "among the highest of the training data"
    return f"higher than about {lower * 100:.0f} % of the training data"


def _bars(edges: Sequence[float], counts: Sequence[int], span: float) -> list[Bar]:
    """Draw density: bins are not of one width, and an area is to show a share."""
    pairs = list(zip(edges, edges[1:], counts, strict=False))
    narrowest = span / 400  # a bin of one single value would be infinitely high
    density = [count / max(right - left, narrowest) for left, right, count in pairs]
    # Square root: one spike (no capital gain at all) must not hide the rest.
    highest = max(density) ** 0.5 or 1.0
    bars = []
    for (left, right, _), each in zip(pairs, density, strict=True):
        height = HEIGHT * each**0.5 / highest
        x, width = (left - edges[0]) / span * WIDTH, max((right - left) / span * WIDTH, 0.6)
        bars.append(
            Bar(x=round(x, 1), y=round(HEIGHT - height, 1), width=round(width, 1), height=round(height, 1))
        )
    return bars
