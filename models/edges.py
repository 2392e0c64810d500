"""
Rows that ask where two ways to the same answer part, made from what the manifest knows of the features; always alike.

Around every number at which something changes (ends of the training range, edges of its histogram, thresholds inside
the estimator) stand its neighbours in double and in single precision; then come what is unlike the training data
(unknown and almost known categories, missing values, zeros of both signs, huge and tiny numbers), and rows drawn as
the training data was spread. What a feature does not take is left out: the version would not be asked it.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from models import linear, trees
from models.features import BadFeatures
from models.manifest import FeatureProfile
from models.model import Model

SEED = 42
DRAWN = 500
BASES = 3
CUTS = 60
_NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 0.1, 5e-324, -2.3e-308, 1e-30, 1e-9, 16777217.0, 9007199254740993.0, -1e10, 1e18,
    3.4e38, 3.5e38, -3.5e38, 1e100, -1e300, 1.7e308,
)  # fmt: skip
_INTEGERS = (0, 1, -1, 16777217, 2**31, -(2**31) - 1, 2**53 + 1, -(2**63), 2**64, 10**30)
_STRANGERS = ("", " ", "never seen", "Ünbekannt ✓", "?", "nan", "None", "0", "x" * 3000)

Instance = dict[str, Any]


def instances(model: Model) -> list[Instance]:
    """Make the rows of a version; each can be asked alone."""
    profiles = model.manifest.features
    bases = [
        {each.name: base.get(each.name) for each in profiles}
        for base in model.manifest.golden.instances[:BASES]
    ]
    strange = [list(_values(profile, at)) for profile, at in zip(profiles, _cuts(model), strict=True)]
    made = [
        bases[nth % len(bases)] | {profile.name: value}
        for profile, values in zip(profiles, strange, strict=True)
        for nth, value in enumerate(values)
    ]
    generator = np.random.default_rng(SEED)
    made += [_drawn(profiles, generator) for _ in range(DRAWN)]
    # Several strange things at once: whatever stands at one place of every feature's list.
    made += [
        {profile.name: values[nth % len(values)] for profile, values in zip(profiles, strange, strict=True)}
        for nth in range(max(map(len, strange)))
    ]
    return [each for each in made if _is_taken(model, each)]


def _is_taken(model: Model, instance: Instance) -> bool:
    try:
        model.check([instance])
    except BadFeatures:
        return False
    return True


def _cuts(model: Model) -> list[list[float]]:
    features = model.manifest.features
    found: Mapping[int, list[float]] = trees.cuts(model.estimator, CUTS)
    found = found or linear.cuts(model.estimator, features)
    # A tree that parts what is missing from the rest does so at infinity.
    return [
        [*filter(isfinite, found.get(place, ())), *each.histogram.edges, *_ends(each)]
        for place, each in enumerate(features)
    ]


def _ends(profile: FeatureProfile) -> list[float]:
    return [end for end in (profile.low, profile.high) if end is not None]


def _values(profile: FeatureProfile, cuts: Sequence[float]) -> Iterator[Any]:
    yield None
    if profile.kind == "boolean":
        yield from (True, False)
    elif profile.kind == "category":
        for known in profile.categories or ():
            yield from (known, f"{known} ", known.swapcase())
        yield from _STRANGERS
    else:
        for number in _numbers(profile, cuts):
            yield from (number, str(number)) if profile.text else (number,)


def _numbers(profile: FeatureProfile, cuts: Sequence[float]) -> Iterator[float]:
    if profile.kind == "integer":
        yield from _INTEGERS
        for cut in cuts:
            yield from (int(np.floor(cut)), int(np.ceil(cut)), int(cut) - 1, int(cut) + 1)
        return
    yield from _NUMBERS
    for cut in cuts:
        single = np.float32(cut)
        yield from (cut, float(np.nextafter(cut, -np.inf)), float(np.nextafter(cut, np.inf)))
        yield from (float(single), float(np.nextafter(single, np.float32(-np.inf))))
        yield float(np.nextafter(single, np.float32(np.inf)))
        yield int(cut)  # a whole number, as JSON without a point is read


def _drawn(profiles: Sequence[FeatureProfile], generator: np.random.Generator) -> Instance:
    return {profile.name: _draw(profile, generator) for profile in profiles}


def _draw(profile: FeatureProfile, generator: np.random.Generator) -> Any:
    if profile.missing and generator.random() < profile.missing:
        return None
    counts = np.array(profile.histogram.counts, dtype=float)
    place = int(generator.choice(len(counts), p=counts / counts.sum()))
    if profile.kind == "category":
        return (profile.categories or ())[place]
    if profile.kind == "boolean":
        return bool(place)
    low, high = profile.histogram.edges[place], profile.histogram.edges[place + 1]
    number = float(generator.uniform(low, high))
    return round(number) if profile.kind == "integer" else number
