"""A metric over time, with its interval, beside what the version had at training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from api.plots import ink

# More points than a reader can tell apart, and than 15 kB hold.
MOST_POINTS = 200
_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 240, 34, 206, 48, 530


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One bucket of time: its beginning, and the metric with its interval; no value where there were no outcomes."""

    at: datetime
    value: float | None
    low: float | None = None
    high: float | None = None


def over_time(metric: str, points: Sequence[Point], training: float | None = None) -> str:
    """Draw how a metric went, bucket by bucket in the order of time, its interval shaded, training's value dashed."""
    shown = points[:: 1 + (len(points) - 1) // MOST_POINTS] if points else points
    known = [point for point in shown if point.value is not None]
    title = f"{metric} over time"
    if not known:
        return ink.frame(60, title, "There is no value yet.", [ink.text(0, 24, f"{title}: no value yet")])
    y = _vertical(known, training)
    x = ink.Scale(shown[0].at.timestamp(), shown[-1].at.timestamp(), _LEFT, _RIGHT)
    parts = [ink.text(0, 14, metric), *_axes(y, shown)]
    if training is not None:
        parts.append(ink.line((_LEFT, y(training)), (_RIGHT, y(training)), dashed=True))
        parts.append(ink.text(_RIGHT + 8, y(training) + 4, f"training {ink.number(training)}", faint=True))
    for has_value, run in groupby(shown, key=lambda point: point.value is not None):
        if has_value:
            parts += _run(list(run), x, y)
    parts += _last(known[-1], x, y, training)
    return ink.frame(_HEIGHT, title, _said(metric, known, training), parts)


def _vertical(known: Sequence[Point], training: float | None) -> ink.Scale:
    values = [each for point in known for each in (point.value, point.low, point.high) if each is not None]
    values += [] if training is None else [training]
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return ink.Scale(low - room, high + room, _BOTTOM, _TOP)


def _axes(y: ink.Scale, shown: Sequence[Point]) -> list[str]:
    parts = [
        ink.text(_LEFT - 8, y(tick) + 4, ink.brief(tick), anchor="end", faint=True)
        for tick in ink.ticks(y.low, y.high)
    ]
    parts.append(ink.text(_LEFT, _BOTTOM + 22, _day(shown[0]), faint=True))
    if len(shown) > 1:
        parts.append(ink.text(_RIGHT, _BOTTOM + 22, _day(shown[-1]), anchor="end", faint=True))
    return parts


def _run(run: Sequence[Point], x: ink.Scale, y: ink.Scale) -> list[str]:
    """Draw buckets that follow each other without a gap."""
    places = [(x(point.at.timestamp()), y(point.value or 0.0)) for point in run]
    if len(run) == 1:
        return [ink.dot(*places[0])]
    lows = [(place[0], y(p.low)) for place, p in zip(places, run, strict=True) if p.low is not None]
    highs = [(place[0], y(p.high)) for place, p in zip(places, run, strict=True) if p.high is not None]
    return [*([ink.area([*highs, *reversed(lows)])] if lows and highs else []), ink.curve(places)]


def _last(point: Point, x: ink.Scale, y: ink.Scale, training: float | None) -> list[str]:
    value = point.value or 0.0
    at = (x(point.at.timestamp()), y(value))
    # Its label must not lie on that of training.
    close = training is not None and abs(y(training) - at[1]) < 14
    below = 16 if close and training is not None and value <= training else -8 if close else 4
    return [ink.dot(*at), ink.text(at[0] + 8, at[1] + below, ink.number(value))]


def _said(metric: str, known: Sequence[Point], training: float | None) -> str:
    least = min(known, key=lambda point: point.value or 0.0)
    most = max(known, key=lambda point: point.value or 0.0)
    ends = f"{_value(known[0])} on {_day(known[0])}, {_value(known[-1])} on {_day(known[-1])}"
    said = (
        f"{metric}: {ends}; lowest {_value(least)} on {_day(least)}, highest {_value(most)} on {_day(most)}."
    )
    return said if training is None else f"{said} At training it was {ink.number(training)}."


def _value(point: Point) -> str:
    return ink.number(point.value or 0.0)


def _day(point: Point) -> str:
    at = point.at
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute) == (0, 0) else f"{at:%Y-%m-%d %H:%M}"
