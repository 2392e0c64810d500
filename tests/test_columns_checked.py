"""Columns are checked at the speed of C, and found to be what looking at one value after the other finds."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models import manifest
from models.features import BadFeatures, Features
from models.manifest import FeatureProfile

STORE = Path(__file__).parent.parent / "models" / "store"
MODELS = ("credit", "housing", "income", "iris", "two-features")
_TYPES = {"number": (int, float), "integer": (int,), "category": (str,), "boolean": (bool,)}
_ODD = (
    None,
    True,
    0,
    1,
    -3,
    10**6,
    0.5,
    -0.0,
    math.nan,
    math.inf,
    "",
    "1.5",
    "1",
    "abc",
    "Private",
    [],
    {},
    2**63,
)


def changed(features: Sequence[FeatureProfile], chance: random.Random) -> list[FeatureProfile]:
    """Let some values be missing, as in training or as never before."""
    shares = [chance.choice((None, 0.0, 0.5)) for _ in features]
    return [
        replace(each, nullable=share is not None, missing=share or 0.0)
        for each, share in zip(features, shares, strict=True)
    ]


def mixed(
    instances: Sequence[Mapping[str, Any]], names: Sequence[str], chance: random.Random
) -> list[dict[str, Any]]:
    """Choose instances, and take out or change some values."""
    rows = [dict(chance.choice(instances)) for _ in range(chance.choice((1, 3, 40)))]
    for _ in range(chance.randrange(3)):
        row, name = chance.choice(rows), chance.choice(names)
        row.pop(name, None) if chance.random() < 0.2 else row.__setitem__(name, chance.choice(_ODD))
    return rows


def is_bad(profile: FeatureProfile, instance: Mapping[str, Any]) -> bool:
    """Judge one value by itself, by the rules as they are written down."""
    if profile.name not in instance:
        return not profile.nullable
    value = instance[profile.name]
    if value is None:
        return not profile.nullable
    if profile.text and isinstance(value, str):
        return not value.replace(".", "").isdigit()  # of the texts above, these are numbers
    return type(value) not in _TYPES[profile.kind] or (isinstance(value, float) and not math.isfinite(value))


def is_odd(profile: FeatureProfile, value: Any) -> bool:
    """Judge whether training has seen the like of a good value."""
    if value is None:
        return not profile.missing
    if profile.kind in ("category", "boolean"):
        return value not in (profile.categories or (True, False))
    return (
        not (-math.inf if profile.low is None else profile.low)
        <= float(value)
        <= (math.inf if profile.high is None else profile.high)
    )


@pytest.mark.parametrize("model", MODELS)
def test_columns_are_judged_as_their_values_are(model: str) -> None:
    """Whatever is mixed into a request, the same values are refused, and the same get a warning, one by one."""
    trained = manifest.parse((STORE / model / "1" / "manifest.json").read_bytes())
    about = {"kind": "boolean", "low": None, "high": None, "categories": None, "text": False}
    flag = replace(trained.features[0], name="flag", **about)
    chance = random.Random(model)
    refused = 0
    for _ in range(300):
        features = changed((*trained.features, flag), chance)
        rows = mixed(
            [each | {"flag": True} for each in trained.golden.instances],
            [each.name for each in features],
            chance,
        )

        bad = {f"/instances/{n}/{f.name}" for n, row in enumerate(rows) for f in features if is_bad(f, row)}
        try:
            found = Features(features).check(rows).unlike
        except BadFeatures as culprits:
            refused += 1
            assert bad == {each.pointer for each in culprits.culprits}
        else:
            assert not bad
            odd = [[f.name for f in features if is_odd(f, row.get(f.name))] for row in rows]
            assert odd == [[each.feature for each in its] for its in found]
    assert 30 < refused < 270
