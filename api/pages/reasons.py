"""Why an answer came out as it did: what each feature added, largest first, as bars to both sides of nothing.

A feature that nobody was asked, because it follows from another answer, counts with that one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.pages.fields import Form
from api.pages.locales import fixed, number, percent, words

HALF = 100.0  # units of the picture on each side of its middle
SHOWN = 4  # digits of the largest part


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One feature's part: where its bar begins, how long it is, and what it says in figures."""

    label: str
    text: str
    is_for: bool
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """All parts of an answer; `towards` is the label they speak for, nothing where a number is answered."""

    parts: Sequence[Reason]
    towards: str
    base: str
    scale: str


def of(form: Form, output: Mapping[str, Any], prediction: Mapping[str, Any]) -> Reasons | None:
    """Read what was recorded with an answer; None where no reasons were asked for."""
    if "contributions" not in prediction:
        return None
    found = _together(form, prediction["contributions"])
    scale = prediction["scale"]
    most = max((abs(each) for each in found.values()), default=0.0) or 1.0
    order = sorted(found.items(), key=lambda each: -abs(each[1]))
    decimals = max(0, SHOWN - 1 - math.floor(math.log10(most)))  # of the largest; the others stand below it
    parts = [_part(label, each, most, _signed(each, scale, decimals)) for label, each in order]
    towards = "" if scale == "value" else str(output.get("positive", prediction.get("label", "")))
    return Reasons(parts=parts, towards=towards, base=_base(prediction["base"], scale), scale=scale)


def _together(form: Form, contributions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    labels = {each.name: each.label for each in form.fields}
    labels |= {each.name: labels[each.source] for each in form.follows}
    found: dict[str, float] = {}
    for each in contributions:
        label = labels.get(each["feature"], words(each["feature"]))
        found[label] = found.get(label, 0.0) + each["contribution"]
    return found


def _part(label: str, contribution: float, most: float, text: str) -> Reason:
    width = round(abs(contribution) / most * HALF, 1)
    is_for = contribution >= 0
    return Reason(label=label, text=text, is_for=is_for, x=HALF if is_for else HALF - width, width=width)


def _signed(contribution: float, scale: str, decimals: int) -> str:
    sign = "+" if contribution >= 0 else "\N{MINUS SIGN}"
    size = abs(contribution)
    return f"{sign}{percent(size) if scale == 'probability' else fixed(size, decimals)}"


def _base(base: float, scale: str) -> str:
    if scale == "log-odds":
        return percent(1 / (1 + math.exp(-base)))
    return percent(base) if scale == "probability" else number(base)
