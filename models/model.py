"""
One loaded version of an estimator, and the only file that calls it: checked rows in, plain Python answers out.

A batch is one call. What a row is answered must not depend on the rows beside it; the recipes see to that by
choosing pipelines whose arithmetic goes row by row (models/recipe.py says how).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.declared import Declared
from models.features import BadFeatures, Column, Culprit, Features, Rows, Unlike
from models.manifest import FeatureProfile, Manifest, Target

__all__ = [
    "BadFeatures",
    "Culprit",
    "Model",
    "Prediction",
    "PredictionFailed",
    "PredictionLost",
    "Rows",
    "Score",
    "Unlike",
    "answer",
    "columns",
    "matrix",
]


# Checked columns in, what `predict` or `predict_proba` gives for them out.
Score = Callable[[Sequence[Column]], Any]


class PredictionFailed(Exception):
    """The estimator gave nothing that may be answered, for rows that were checked: the model is at fault."""


class PredictionLost(PredictionFailed):
    """The process that was asked died of these rows, or while it had them: nobody is asked them again."""


# A named tuple and no dataclass: ten thousand of them are made in a fifth of the time frozen dataclasses take.
class Prediction(NamedTuple):
    """
    The answer for one row, not yet remembered.

    Two classes: `label` and `probability`, that of the target's positive label. More classes: `label` and
    `probabilities`. Regressor: `value`. Everything else is None.
    """

    label: str | None = None
    value: float | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    unlike: tuple[Unlike, ...] = ()


def answer(prediction: Prediction, target: Target) -> dict[str, object]:
    """Name the parts of a prediction as the API does: a regressor's value carries the name of its target."""
    if prediction.label is None:
        return {target.name: prediction.value}
    if prediction.probabilities is None:
        return {"label": prediction.label, "probability": prediction.probability}
    return {"label": prediction.label, "probabilities": prediction.probabilities}


def columns(predictions: Sequence[Prediction], target: Target) -> dict[str, Sequence[Any]]:
    """Name the parts of many predictions as `answer` does, each with a value for every one of them."""
    labels, values, probability, probabilities, _ = zip(*predictions, strict=True)
    if labels[0] is None:
        return {target.name: values}
    if probabilities[0] is None:
        return {"label": labels, "probability": probability}
    return {"label": labels, "probabilities": probabilities}


class Model:
    """
    One version, ready to answer. Not for several threads at once: its estimator may not be.

    `score` answers in the place of the estimator, for a twin. `twin` is this version's, where it was admitted and may
    answer here; else `twinless` says why not.
    """

    __slots__ = ("_features", "_method", "_score", "estimator", "manifest", "twin", "twinless")

    def __init__(self, manifest: Manifest, estimator: Any, score: Score | None = None) -> None:
        self.manifest = manifest
        self.estimator = estimator
        self.twin: Model | None = None
        self.twinless = "it was not asked for"
        self._features = Features(manifest.features)
        self._method = "predict" if manifest.target.labels is None else "predict_proba"
        self._score = score or self.estimate

    def apart(self) -> Model:
        """Copy what the pickle holds, for another thread; the copy has no twin."""
        return Model(self.manifest, deepcopy(self.estimator))

    def check(self, instances: Sequence[Mapping[str, object]], declared: Declared | None = None) -> Rows:
        """
        Turn instances into rows for `predict`, whole or not at all.

        Raises:
            BadFeatures: naming every value that cannot be predicted from.
            Undeclared: they are not plainly what is declared, where that is given.
        """
        return self._features.check(instances, declared)

    def predict(self, rows: Rows) -> list[Prediction]:
        """
        Answer every row, in order, by one call of the estimator.

        Raises:
            PredictionFailed: the estimator raised, gave another number of answers, or one that is not finite.
            PredictionLost: the process it was asked in died of it.
        """
        if not len(rows):
            return []
        target = self.manifest.target
        if target.labels is None:
            values = self._ask(rows, shape=(len(rows),)).tolist()
            parts = zip(repeat(None), values, repeat(None), repeat(None), rows.unlike, strict=False)
            return list(map(Prediction._make, parts))
        scores = self._ask(rows, shape=(len(rows), len(target.labels)))
        return _classified(scores, target.labels, target.positive, rows.unlike)

    def estimate(self, columns: Sequence[Column]) -> Any:
        """Ask the estimator of the pickle, unchecked, in this process, whoever answers otherwise."""
        inputs = matrix(columns, self.manifest.features, self.manifest.input)
        return getattr(self.estimator, self._method)(inputs)

    def _ask(self, rows: Rows, *, shape: tuple[int, ...]) -> NDArray[np.float64]:
        name, method = f"model {self.manifest.model!r} version {self.manifest.version!r}", self._method
        try:
            outputs = np.asarray(self._score(rows.columns))
        except PredictionLost:
            raise
        except Exception as error:
            raise PredictionFailed(f"{name}: {method} raised {type(error).__name__}") from error
        if outputs.dtype.kind not in "fiu":
            raise PredictionFailed(f"{name}: {method} gave the type {outputs.dtype}, expected numbers")
        if outputs.shape != shape:
            raise PredictionFailed(f"{name}: {method} gave the shape {outputs.shape}, expected {shape}")
        if not np.isfinite(outputs).all():
            raise PredictionFailed(f"{name}: {method} gave a number that is not finite")
        return outputs.astype(np.float64, copy=False)


def _classified(
    scores: NDArray[np.float64],
    labels: Sequence[str],
    positive: str | None,
    unlike: Sequence[tuple[Unlike, ...]],
) -> list[Prediction]:
    """The label is the most probable one, as `predict` of a classifier has it; of equal ones the first."""
    chosen = [labels[place] for place in scores.argmax(axis=1).tolist()]
    parts: Iterable[tuple[Any, ...]]
    if positive is None:
        named = [dict(zip(labels, row, strict=True)) for row in scores.tolist()]
        parts = zip(chosen, repeat(None), repeat(None), named, unlike, strict=False)
    else:
        probabilities = scores[:, labels.index(positive)].tolist()
        parts = zip(chosen, repeat(None), probabilities, repeat(None), unlike, strict=False)
    return list(map(Prediction._make, parts))


def matrix(columns: Sequence[Column], features: Sequence[FeatureProfile], form: str) -> Any:
    """
    Lay checked columns out as the estimator was fitted to them: training and serving both come through here.

    "array": a C-ordered 2-D array `(rows, features)`, of doubles when every feature is numeric, else of objects.
    "frame": a pandas DataFrame by feature name. A missing number becomes NaN, a missing category stays None.
    """
    numeric = [feature.kind != "category" for feature in features]
    if form == "frame":
        import pandas as pd

        pairs = zip(features, numeric, columns, strict=True)
        return pd.DataFrame(
            {f.name: np.array(column, dtype=float if n else object) for f, n, column in pairs}
        )
    inputs = np.empty((len(columns[0]), len(columns)), dtype=float if all(numeric) else object)
    for place, (feature, column) in enumerate(zip(features, columns, strict=True)):
        missing_number = numeric[place] and feature.nullable
        inputs[:, place] = np.array(column, dtype=float) if missing_number else column
    return inputs
