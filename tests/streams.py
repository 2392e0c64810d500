"""Adult census as a stream of predictions: what training saw of it, the rest in order, with or without a shift."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from models import registry, training
from models.drift import Window
from models.manifest import Manifest
from models.recipes import income
from tests.conftest import must_have

STORE = Path(__file__).parent.parent / "models" / "store"
ROWS = 1000


@cache
def census() -> tuple[pd.DataFrame, np.ndarray]:
    """All persons, and the probability that the shipped model answers for each."""
    folder = os.environ.get("ONRECORD_DATASETS")
    if folder is None:
        must_have("ONRECORD_DATASETS, the folder of CSV files,")
    frame = income.data(Path(str(folder))).frame
    model = registry.load(STORE, "income", "1", None)
    answers = model.predict(model.check(training.instances_of(frame)))
    return frame, np.array([each.probability for each in answers])


def reference(seed: int) -> tuple[Manifest, np.ndarray]:
    """Part the persons anew: the manifest that training on four fifths would have written, and the others' places."""
    frame, scores = census()
    places = np.random.default_rng(seed).permutation(len(frame))
    learnt, held_out = np.split(places, [len(frame) * 4 // 5])
    manifest = registry.load(STORE, "income", "1", None).manifest
    names = [feature.name for feature in manifest.features]
    features = tuple(training.profile(income.RECIPE, frame[name], frame[name].iloc[learnt]) for name in names)
    tenths = np.linspace(0, 1, 11)
    counts, _ = np.histogram(scores[held_out], tenths)
    histogram = replace(manifest.target.histogram, edges=tuple(tenths), counts=tuple(counts.tolist()))
    data = replace(manifest.data, train_rows=len(learnt), test_rows=len(held_out))
    target = replace(manifest.target, histogram=histogram)
    return replace(manifest, features=features, target=target, data=data), held_out


def window(places: np.ndarray) -> Window:
    """What these persons' predictions would be, side by side."""
    frame, scores = census()
    chosen = frame.iloc[places, :-1]
    features = {name: training.column(chosen[name]) for name in chosen.columns}
    return Window(features=features, output=scores[places])


def windows(places: np.ndarray) -> Iterator[Window]:
    """Cut a stream into windows of a thousand, in their order."""
    for start in range(0, len(places) - ROWS + 1, ROWS):
        yield window(places[start : start + ROWS])


def older(places: np.ndarray, seed: int) -> np.ndarray:
    """Draw as many again, each ten years of age three times as often as the ten before: the shift."""
    frame, _ = census()
    weight = 3.0 ** (frame["age"].to_numpy()[places] / 10)
    return np.random.default_rng(seed).choice(places, len(places), p=weight / weight.sum())
