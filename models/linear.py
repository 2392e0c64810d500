"""
Linear models without their pipeline: what each feature adds to the score is looked up, column by column.

A pipeline that cuts, scales and one-hot encodes its columns spends 4 ms on one row, nearly all of it on checking and
on building a sparse matrix of zeros. What comes out is a sum of one weight per feature; here it is just that sum,
added up in the order of the sparse product, so that even the last bit is the pickle's.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import repeat
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.features import Column
from models.manifest import FeatureProfile
from models.model import Score

Numbers = NDArray[np.float64]
Term = tuple[int, Callable[[Column], Numbers]]  # which feature, and what its column adds to the scores

_VALUES = ("ElasticNet", "Lasso", "LinearRegression", "Ridge")


class NotLinear(Exception):
    """The estimator is no linear model over columns that this file can read; says which part is not."""


def score(estimator: Any, features: Sequence[FeatureProfile]) -> Score:
    """
    Make the sum out of a fitted pipeline.

    Raises:
        NotLinear: a step of it is none of those known here.
    """
    before, last = _steps(estimator)
    weights = _weights(last)
    terms = _terms(before, [feature.name for feature in features], weights)
    intercept, link = last.intercept_, _link(last)

    def scores(columns: Sequence[Column]) -> Numbers:
        return link(reduce(add, [term(columns[place]) for place, term in terms]) + intercept)

    return scores


def cuts(estimator: Any, features: Sequence[FeatureProfile]) -> dict[int, list[float]]:
    """Name the numbers at which a feature begins to count otherwise, by its place; none where nothing is cut."""
    try:
        before, _ = _steps(estimator)
    except NotLinear:
        return {}
    found: dict[int, list[float]] = {}
    names = [feature.name for feature in features]
    for transformer, columns in _parts(before, len(names)):
        for place, edges in zip(columns, getattr(transformer, "bin_edges_", ()), strict=False):
            found[_place(place, names)] = edges.tolist()
    return found


def _steps(estimator: Any) -> tuple[Any, Any]:
    steps = [step for _, step in estimator.steps] if type(estimator).__name__ == "Pipeline" else [estimator]
    if len(steps) > 2:
        raise NotLinear(f"it has {len(steps)} steps, two at most are read")
    return (steps[0] if len(steps) == 2 else None), steps[-1]


def _weights(last: Any) -> Numbers:
    if type(last).__name__ not in (*_VALUES, "LogisticRegression"):
        raise NotLinear(f"its {type(last).__name__} is no linear model")
    weights: Numbers = np.atleast_2d(last.coef_)
    return weights[0] if len(weights) == 1 else weights.T


def _link(last: Any) -> Callable[[Numbers], Numbers]:
    if type(last).__name__ in _VALUES:
        return lambda sums: sums
    if len(last.classes_) == 2:
        return _two_classes
    from sklearn.utils.extmath import softmax

    return lambda sums: softmax(sums, copy=False)


def _two_classes(sums: Numbers) -> Numbers:
    positive = expit(sums)
    return np.stack([1 - positive, positive], axis=1)


def _parts(before: Any, width: int) -> list[tuple[Any, Sequence[Any]]]:
    """Name each transformer with the columns it takes, in the order in which the model sees what comes out."""
    if type(before).__name__ != "ColumnTransformer":
        return [(before, range(width))]
    return [(each, columns) for _, each, columns in before.transformers_ if each != "drop" and len(columns)]


def _place(column: Any, names: Sequence[str]) -> int:
    return names.index(column) if isinstance(column, str) else int(column)


def _terms(before: Any, names: Sequence[str], weights: Numbers) -> list[Term]:
    terms: list[Term] = []
    at = 0
    for transformer, columns in _parts(before, len(names)):
        for nth, column in enumerate(columns):
            width, make = _reader(transformer, nth)
            terms.append((_place(column, names), make(weights[at : at + width])))
            at += width
    if at != len(weights):
        raise NotLinear(f"its columns make {at} numbers, its model weighs {len(weights)}")
    return terms


def _reader(transformer: Any, nth: int) -> tuple[int, Callable[[Numbers], Callable[[Column], Numbers]]]:
    """Say how many numbers a transformer makes of its nth column, and how they are looked up with their weights."""
    match type(transformer).__name__:
        case "NoneType":
            return 1, lambda weights: _number(0.0, 1.0, weights[0])
        case "StandardScaler":
            mean = transformer.mean_[nth] if transformer.with_mean else 0.0
            scale = transformer.scale_[nth] if transformer.with_std else 1.0
            return 1, lambda weights: _number(mean, scale, weights[0])
        case "KBinsDiscretizer" if transformer.encode != "ordinal":
            edges = transformer.bin_edges_[nth]
            return len(edges) - 1, lambda weights: _bin(edges[1:-1], weights)
        case "OneHotEncoder" if transformer.handle_unknown == "ignore" and transformer.drop is None:
            known = transformer.categories_[nth].tolist()
            return len(known), lambda weights: _category(known, weights)
    raise NotLinear(f"its {type(transformer).__name__} is none that is read, or not as it is set")


def _number(mean: float, scale: float, weight: Any) -> Callable[[Column], Numbers]:
    def term(column: Column) -> Numbers:
        scaled = (np.array(column, dtype=float) - mean) / scale
        added: Numbers = np.multiply.outer(scaled, weight)
        return added

    return term


def _bin(inner: Numbers, weights: Numbers) -> Callable[[Column], Numbers]:
    def term(column: Column) -> Numbers:
        return weights[np.searchsorted(inner, np.array(column, dtype=float), side="right")]

    return term


def _category(known: Sequence[Any], weights: Numbers) -> Callable[[Column], Numbers]:
    places = {category: place for place, category in enumerate(known)}
    find, unknown = places.get, len(known)
    table = np.concatenate([weights, np.zeros_like(weights[:1])])  # an unknown category adds nothing

    def term(column: Column) -> Numbers:
        return table[np.fromiter(map(find, column, repeat(unknown)), np.intp, len(column))]

    return term
