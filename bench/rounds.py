"""Rounds in turn, A B A B: whatever else the machine does falls on all alike; medians and ratios are what counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Figures = dict[str, float]


def in_turn(measures: Mapping[Key, Callable[[], Figures]], rounds: int) -> dict[Key, Figures]:
    """Measure everything once per round; return the medians of every figure."""
    seen: dict[Key, list[Figures]] = {key: [] for key in measures}
    for number in range(rounds):
        # Every other round the other way about: nobody always comes after the same neighbour.
        for key in sorted_by_turn(list(measures), number):
            seen[key].append(measures[key]())
    return {key: medians(figures) for key, figures in seen.items()}


def sorted_by_turn(keys: list[Key], number: int) -> list[Key]:
    """Give the order of one round."""
    return keys if number % 2 == 0 else keys[::-1]


def medians(figures: list[Figures]) -> Figures:
    """Take the median of each figure."""
    return {name: statistics.median(each[name] for each in figures) for name in figures[0]}
