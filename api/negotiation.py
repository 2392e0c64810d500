"""Which of the media types an operation can answer suits the header Accept best (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A range and its weight; other parameters (charset=utf-8, mostly) make no difference to what we can answer.
_RANGE = re.compile(r"\s*([^\s;,/]+/[^\s;,/]+)\s*(?:;[^,]*)?")
_WEIGHT = re.compile(r";\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)
_ANY_WEIGHT = re.compile(r";\s*q\s*=", re.IGNORECASE)


def best(accept: str, offered: Sequence[str]) -> str | None:
    """Choose what is weighted highest, the first offered among equals; None if everything is excluded."""
    if not accept.strip():
        return offered[0]
    weights = dict(filter(None, map(_weighted, accept.lower().split(","))))
    chosen = max(offered, key=lambda media: _weight(media, weights))
    return chosen if _weight(chosen, weights) > 0 else None


def _weighted(part: str) -> tuple[str, float] | None:
    media = _RANGE.fullmatch(part)
    weight = _WEIGHT.search(part.rstrip())
    if media is None or (weight is None and _ANY_WEIGHT.search(part)):
        return None
    return media[1], 1.0 if weight is None else float(weight[1])


def _weight(media: str, weights: dict[str, float]) -> float:
    """Take the weight of the most specific range that covers the type."""
    for covering in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if covering in weights:
            return weights[covering]
    return 0.0
