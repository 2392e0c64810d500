"""
Trees and forests without their wrapping: each tree is asked directly, and the answers added up as scikit-learn does.

For one row, a forest of fifty trees spends 3 ms on validation and on starting jobs that never run beside each other,
and 0.1 ms in its trees. The order of the sum and the rounding to single precision beforehand are scikit-learn's own,
so the scores are the same to the last bit. ONNX compares in single precision where a tree does not: 1e-2 was seen.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.features import Column
from models.manifest import FeatureProfile
from models.model import Score, matrix

_TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
_FORESTS = ("ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor")


class NoTrees(Exception):
    """The estimator is neither a tree nor a forest."""


class _BeyondSingle(Exception):
    """A number that single precision cannot hold; scikit-learn refuses it, too."""


def score(estimator: Any, features: Sequence[FeatureProfile]) -> Score:
    """
    Ask the trees of a fitted estimator directly.

    Raises:
        NoTrees: it has none, or they are asked otherwise.
    """
    trees = [each.tree_ for each in _members(estimator)]
    classes = len(estimator.classes_) if hasattr(estimator, "classes_") else None

    def scores(columns: Sequence[Column]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            rows = np.asarray(matrix(columns, features, "array"), dtype=np.float32)
        if np.isinf(rows).any():
            raise _BeyondSingle
        answers = [tree.predict(rows) for tree in trees]
        # One after the other, as scikit-learn adds them: numpy's own sum would take another order.
        total: NDArray[np.float64] = np.zeros_like(answers[0])
        for answer in answers:
            total += answer
        total /= len(trees)
        return total[:, 0] if classes is None else total[:, :classes]

    return scores


def cuts(estimator: Any, at_most: int) -> dict[int, list[float]]:
    """Name numbers at which the trees decide, by the place of the feature, spread evenly over all they know."""
    try:
        members = _members(estimator)
    except NoTrees:
        return {}
    features = np.concatenate([each.tree_.feature for each in members])
    thresholds = np.concatenate([each.tree_.threshold for each in members])
    found = {}
    for place in range(members[0].n_features_in_):
        known = np.unique(thresholds[features == place])
        chosen = np.unique(np.linspace(0, len(known) - 1, min(at_most, len(known))).astype(int))
        found[place] = known[chosen].tolist()
    return found


def _members(estimator: Any) -> list[Any]:
    name = type(estimator).__name__
    if name in _TREES:
        return [estimator]
    if name not in _FORESTS:
        raise NoTrees(f"{name} is neither a tree nor a forest")
    return list(estimator.estimators_)
