"""The model as every peer calls it; knows no server. Needs scikit-learn alone."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FEATURES = [
    "age", "workclass", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex",
    "capital_gain", "capital_loss", "hours_per_week", "native_country",
]  # fmt: skip


def load() -> Any:
    """Unpickle the pipeline that OnRecord ships."""
    with open(os.environ["BENCH_PICKLE"], "rb") as file:  # noqa: PTH123  # as one writes it
        return pickle.load(file)


def matrix(instances: Sequence[Mapping[str, object]]) -> Any:
    """Lay rows out as the pipeline was fitted to them."""
    return np.array([[instance[name] for name in FEATURES] for instance in instances], dtype=object)


def answers(model: Any, instances: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Answer rows by one call, as label and probability."""
    scores = model.predict_proba(matrix(instances))[:, 1].tolist()
    return [{"label": ">50K" if score > 0.5 else "<=50K", "probability": score} for score in scores]
