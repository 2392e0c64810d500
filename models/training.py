"""
Training, the part that is the same for every model: split, fit, describe, measure, write.

Rows go to the estimator the way served rows do, and the metrics are of answers given by `Model.predict`: what is
promised is measured on what is served.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.model_selection import train_test_split

from models import artefact, explaining, graphs, heldout, registry, twin
from models.features import Column
from models.files import write_folder
from models.manifest import (
    FeatureProfile,
    Golden,
    Histogram,
    Kind,
    Manifest,
    Target,
    TrainingData,
    encode,
)
from models.model import Model, Prediction, answer, matrix
from models.recipe import DataSet, Recipe

HELD_OUT = 0.2
SEED = 42
GOLDEN_INSTANCES = 10
# Libraries and processors differ in the last bits of a sum; a model that differs by more is another model.
GOLDEN_TOLERANCE = 1e-9
# A twin computes in single precision where its converter knows no other: 1.4e-7 was seen.
TWIN_TOLERANCE = 1e-6
BINS = 20


def fit(recipe: Recipe, data: DataSet, version: str, trained_at: str) -> tuple[Manifest, dict[str, bytes]]:
    """Train one version: its manifest, complete, and its other files by name."""
    learnt, held_out = split(data.frame)
    features = tuple(profile(recipe, data.frame[name], learnt[name]) for name in data.frame.columns[:-1])
    truth = data.frame.columns[-1]
    inputs = matrix(_columns(learnt), features, recipe.input)
    estimator = recipe.pipeline().fit(inputs, _target_of(learnt[truth]))
    blob, names = artefact.dump(estimator)
    draft = Manifest(
        model=recipe.model,
        version=version,
        title=recipe.title,
        kind="classifier" if hasattr(estimator, "classes_") else "regressor",
        digest=hashlib.sha256(blob).hexdigest(),
        size_bytes=len(blob),
        libraries=_libraries(recipe.input),
        estimator=registry.qualified_name(estimator),
        globals=names,
        input=recipe.input,
        features=features,
        target=_target(recipe, str(truth), estimator),
        metrics={},
        data=_fingerprint(data, len(learnt), len(held_out)),
        trained_at=trained_at,
        golden=Golden(instances=(), outputs=(), tolerance=GOLDEN_TOLERANCE),
        tolerance=TWIN_TOLERANCE,
    )
    baselines = explaining.baselines(draft, estimator, inputs)
    draft = replace(draft, features=_with(features, baseline=baselines))
    manifest, files = twinned(Model(_measured(Model(draft, estimator), held_out), estimator), held_out)
    return manifest, {"model.pkl": blob, **files}


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part the rows into those learnt from and the fifth that is held out, the same way for every model."""
    learnt, held_out = train_test_split(frame, test_size=HELD_OUT, random_state=SEED)
    return learnt, held_out


def twinned(model: Model, held_out: pd.DataFrame | None) -> tuple[Manifest, dict[str, bytes]]:
    """Complete the manifest by what came of looking for a twin; with the twin's file, where it has one."""
    found, blob = twin.compiled(model, () if held_out is None else instances_of(held_out))
    return replace(model.manifest, twin=found), {} if blob is None else {graphs.FILE: blob}


def keep(store: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """
    Put a version into the store, whole, and make sure that a server will load it.

    Raises:
        FileExistsError: the store has this version; it stays as it was.
        registry.ModelRefused: it is stored, but what was written does not load here.
    """
    folder = store / manifest.model / manifest.version
    write_folder(folder, {**files, "manifest.json": encode(manifest)})
    registry.load(store, manifest.model, manifest.version, manifest.digest)


def next_version(store: Path, model: str) -> str:
    """Name the first free number after every numbered version of this model."""
    taken = [
        int(version) for name, version in registry.listing(store) if name == model and version.isdecimal()
    ]
    return str(max(taken, default=0) + 1)


def _measured(model: Model, held_out: pd.DataFrame) -> Manifest:
    """Let the model answer the held-out rows, and complete its manifest by what can only be known then."""
    manifest = model.manifest
    instances = instances_of(held_out)
    rows = model.check(instances)
    predictions = model.predict(rows)
    truth = _target_of(held_out.iloc[:, -1])
    golden = Golden(
        instances=tuple(instances[:GOLDEN_INSTANCES]),
        outputs=tuple(answer(prediction, manifest.target) for prediction in predictions[:GOLDEN_INSTANCES]),
        tolerance=manifest.golden.tolerance,
    )
    target = replace(manifest.target, histogram=_answered(predictions, manifest.target))
    importances = explaining.importances(manifest, model.estimator, rows, predictions)
    return replace(
        manifest,
        features=_with(manifest.features, importance=importances),
        golden=golden,
        target=target,
        metrics=_metrics(truth, predictions, manifest.target),
        calibration=heldout.calibration(predictions, truth, manifest.target),
        curve=heldout.curve(predictions, truth, manifest.target),
        actuals=heldout.actuals(predictions, truth, manifest.target),
    )


def _with(
    features: tuple[FeatureProfile, ...], **learnt: tuple[float, ...] | None
) -> tuple[FeatureProfile, ...]:
    """Add what is known of each feature only once the model is trained, where it is known at all."""
    for name, values in learnt.items():
        if values is not None:
            pairs = zip(features, values, strict=True)
            known: list[tuple[FeatureProfile, dict[str, Any]]] = [
                (each, {name: value}) for each, value in pairs
            ]
            features = tuple(replace(each, **more) for each, more in known)
    return features


def column(series: pd.Series) -> Column:
    """The values as JSON would carry them: plain Python, None where missing."""
    column: Column = series.astype(object).where(series.notna(), None).tolist()
    return column


def _columns(frame: pd.DataFrame) -> list[Column]:
    return [column(frame[name]) for name in frame.columns[:-1]]


def instances_of(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Give every row as a caller would send it; the last column, the truth, is no part of it."""
    names = list(frame.columns[:-1])
    return [dict(zip(names, row, strict=True)) for row in zip(*_columns(frame), strict=True)]


def _target_of(series: pd.Series) -> NDArray[Any]:
    return np.array(column(series), dtype=float if pd.api.types.is_numeric_dtype(series) else object)


def _kind(series: pd.Series) -> Kind:
    if pd.api.types.is_bool_dtype(series):
        return "boolean"
    if pd.api.types.is_integer_dtype(series):
        return "integer"
    return "number" if pd.api.types.is_float_dtype(series) else "category"


def profile(recipe: Recipe, whole: pd.Series, learnt: pd.Series) -> FeatureProfile:
    """Describe one feature by the rows learnt from; only whether it may be missing is asked of all rows."""
    name, kind = str(whole.name), _kind(whole)
    present = [value for value in column(learnt) if value is not None]
    numeric = kind in ("number", "integer")
    categories = tuple(sorted({str(value) for value in present})) if kind == "category" else None
    numbers = np.array(present, dtype=float) if numeric else np.empty(0)
    return FeatureProfile(
        name=name,
        kind=kind,
        low=float(numbers.min()) if numeric else None,
        high=float(numbers.max()) if numeric else None,
        categories=categories,
        histogram=_binned(numbers) if numeric else _counted(present, categories or (False, True)),
        missing=1 - len(present) / len(learnt),
        nullable=bool(whole.isna().any()),
        text=name in recipe.text,
    )


def _target(recipe: Recipe, name: str, estimator: Any) -> Target:
    labels = tuple(str(label) for label in estimator.classes_) if hasattr(estimator, "classes_") else None
    if (recipe.positive is not None) != (labels is not None and len(labels) == 2):
        raise ValueError(f"recipe {recipe.model!r}: name the positive label of two classes, and only of two")
    unknown_yet = Histogram(edges=(), counts=())
    return Target(name=name, unit=recipe.unit, labels=labels, positive=recipe.positive, histogram=unknown_yet)


def _counted(values: Sequence[object], categories: Sequence[object]) -> Histogram:
    counts = Counter(values)
    return Histogram(edges=(), counts=tuple(counts[category] for category in categories))


def _binned(numbers: NDArray[np.float64]) -> Histogram:
    """A bin for each of few distinct values, else bins that hold about equally many."""
    distinct = np.unique(numbers)
    if len(distinct) <= BINS:
        edges = np.concatenate([distinct[:1], (distinct[:-1] + distinct[1:]) / 2, distinct[-1:]])
    else:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)))
    counts, _ = np.histogram(numbers, edges)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _answered(predictions: Sequence[Prediction], target: Target) -> Histogram:
    """How the answers were spread: values, probabilities in tenths, or labels where there are more than two."""
    if target.labels is None:
        return _binned(np.array([prediction.value for prediction in predictions], dtype=float))
    if target.positive is None:
        return _counted([prediction.label for prediction in predictions], target.labels)
    tenths = np.linspace(0, 1, 11)
    scores = np.array([prediction.probability for prediction in predictions], dtype=float)
    counts, _ = np.histogram(scores, tenths)
    return Histogram(edges=tuple(tenths.tolist()), counts=tuple(counts.tolist()))


def _metrics(truth: NDArray[Any], predictions: Sequence[Prediction], target: Target) -> dict[str, float]:
    if target.labels is None:
        values = [prediction.value for prediction in predictions]
        names = ("r2_score", "mean_absolute_error", "root_mean_squared_error")
        return {name: float(getattr(metrics, name)(truth, values)) for name in names}
    labels = [prediction.label for prediction in predictions]
    found = {
        "accuracy_score": metrics.accuracy_score(truth, labels),
        "balanced_accuracy_score": metrics.balanced_accuracy_score(truth, labels),
    }
    if target.positive is None:
        rows = [list((prediction.probabilities or {}).values()) for prediction in predictions]
        found["log_loss"] = metrics.log_loss(truth, rows, labels=list(target.labels))
    else:
        scores = np.array([prediction.probability for prediction in predictions], dtype=float)
        is_positive = truth == target.positive
        for name in ("roc_auc_score", "average_precision_score", "brier_score_loss", "log_loss"):
            found[name] = getattr(metrics, name)(is_positive, scores)
    return {name: float(value) for name, value in found.items()}


def _libraries(form: str) -> dict[str, str]:
    names = ("python", "scikit-learn", "numpy", "scipy", *(["pandas"] if form == "frame" else []))
    return {name: registry.installed(name) for name in names}


def _fingerprint(data: DataSet, train_rows: int, test_rows: int) -> TrainingData:
    return TrainingData(
        name=data.name,
        source=data.source,
        rows=len(data.frame),
        train_rows=train_rows,
        test_rows=test_rows,
        sha256=hashlib.sha256(data.frame.to_csv(index=False).encode()).hexdigest(),
    )
