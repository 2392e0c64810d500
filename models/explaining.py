"""
Why an answer came out as it did: what each feature that was sent added to the score, against a base.

Base and contributions add up to the score. An additive model (linear, or naive Bayes of two classes) is led back
exactly: each feature's term less that term's mean over the training rows, which the manifest holds, in log-odds or in
the target's unit. Trees are left to `shap` (TreeExplainer: Shapley values along the paths of the training rows, whose
counts the trees carry). Any other estimator is refused by name: an approximation is no reason.

`shap` is imported when the first tree is to be explained: it takes 0.6 s and 120 MB, which nobody else should pay for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isclose, isfinite
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble, linear_model, naive_bayes, tree

from models.features import Rows
from models.manifest import Manifest, Target
from models.model import Prediction, PredictionFailed, matrix
from models.origins import NotExplained, origins, steps_of

Scale = Literal["log-odds", "probability", "value"]
Numbers = NDArray[np.float64]

TOLERANCE = 1e-9  # between an answer and what its base and contributions add up to

_LINEAR = (
    linear_model.ElasticNet,
    linear_model.Lasso,
    linear_model.LinearRegression,
    linear_model.LogisticRegression,
    linear_model.Ridge,
)
_AVERAGED = (
    ensemble.ExtraTreesClassifier,
    ensemble.RandomForestClassifier,
    tree.DecisionTreeClassifier,
)
_SUMMED = (
    ensemble.ExtraTreesRegressor,
    ensemble.RandomForestRegressor,
    tree.DecisionTreeRegressor,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    Why one row was answered so: `base` and `contributions`, in the order of the features, add up to the score.

    The score is the probability's log-odds ("log-odds"), the probability of the positive label, of the answered one
    where there are more than two ("probability"), or a regressor's value ("value").
    """

    scale: Scale
    base: float
    contributions: tuple[float, ...]


class Explainer(Protocol):
    """Explains the answers of one version."""

    def explain(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Explanation]:
        """
        Explain what was answered to these rows; each row's explanation is the same in any company.

        Raises:
            PredictionFailed: an explanation does not add up to the answer, or is not finite.
        """


def explainer_of(manifest: Manifest, estimator: Any) -> Explainer:
    """
    Make the explainer of a version.

    Raises:
        NotExplained: its estimator is neither additive nor made of trees, or its manifest is older than explanations.
    """
    if isinstance(steps_of(estimator)[1], _AVERAGED + _SUMMED):
        return _Trees(manifest, estimator)
    terms = Terms(manifest, estimator)
    baseline = [feature.baseline for feature in manifest.features]
    if None in baseline:
        raise NotExplained("it was trained before answers were explained; retrain it")
    return _Additive(manifest, terms, np.array(baseline, dtype=float))


class Terms:
    """
    The terms of an additive model: its score is `intercept` plus one term for each feature.

    Raises NotExplained where the estimator has no such form.
    """

    def __init__(self, manifest: Manifest, estimator: Any) -> None:
        self._manifest = manifest
        self._encoders, final = steps_of(estimator)
        self._estimator, self._final = estimator, final
        self._is_linear = isinstance(final, _LINEAR)
        if not self._is_linear and not isinstance(final, naive_bayes.GaussianNB):
            raise NotExplained(f"a {type(final).__name__} has no exact contributions")
        if len(manifest.target.labels or "12") != 2:
            raise NotExplained(f"a {type(final).__name__} of more than two labels has no exact contributions")
        self._origins = np.array(origins(self._encoders, len(manifest.features)), dtype=np.intp)
        self._sign = _sign(manifest.target)
        self.intercept = self._sign * self._constant()

    def of(self, inputs: Any) -> Numbers:
        """Compute the terms of every row, `(rows, features)`, each row by itself."""
        encoded = self._estimator[:-1].transform(inputs) if self._encoders else inputs
        rows, features = encoded.shape[0], len(self._manifest.features)
        if hasattr(encoded, "tocsr"):
            encoded = encoded.tocsr()
            row, column = np.repeat(np.arange(rows), np.diff(encoded.indptr)), encoded.indices
            parts = encoded.data * self._final.coef_.ravel()[column]
        else:
            dense = np.asarray(encoded, dtype=float)
            row, column = (places.ravel() for places in np.indices(dense.shape))
            parts = self._parts(dense).ravel()
        # bincount adds up in the order of the columns, so that no row's sum depends on its neighbours.
        cells = row * features + self._origins[column]
        sums = np.bincount(cells, weights=parts, minlength=rows * features)
        return np.asarray(sums.reshape(rows, features) * self._sign, dtype=np.float64)

    def _constant(self) -> float:
        if self._is_linear:
            return float(np.ravel(self._final.intercept_)[0])
        other, second = np.log(self._final.class_prior_)
        return float(second - other)

    def _parts(self, dense: Numbers) -> Numbers:
        if self._is_linear:
            return np.asarray(dense * self._final.coef_.ravel())
        (other, second), variances = self._final.theta_, self._final.var_
        squares = (dense - other) ** 2 / variances[0] - (dense - second) ** 2 / variances[1]
        return np.asarray((squares + np.log(variances[0] / variances[1])) / 2)


class _Additive:
    def __init__(self, manifest: Manifest, terms: Terms, baseline: Numbers) -> None:
        self._manifest, self._terms, self._baseline = manifest, terms, baseline
        self._base = terms.intercept + float(baseline.sum())
        self._scale: Scale = "value" if manifest.target.labels is None else "log-odds"

    def explain(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Explanation]:
        terms = self._terms.of(matrix(rows.columns, self._manifest.features, self._manifest.input))
        found = [
            Explanation(scale=self._scale, base=self._base, contributions=tuple(row))
            for row in (terms - self._baseline).tolist()
        ]
        return _insist(self._manifest, found, predictions)


class _Trees:
    def __init__(self, manifest: Manifest, estimator: Any) -> None:
        import shap

        self._manifest, self._estimator = manifest, estimator
        self._encoders, final = steps_of(estimator)
        self._origins = origins(self._encoders, len(manifest.features))
        self._shap = shap.TreeExplainer(final)
        self._bases = np.ravel(self._shap.expected_value).tolist()

    def explain(self, rows: Rows, predictions: Sequence[Prediction]) -> list[Explanation]:
        inputs = matrix(rows.columns, self._manifest.features, self._manifest.input)
        encoded = self._estimator[:-1].transform(inputs) if self._encoders else inputs
        dense = encoded.toarray() if hasattr(encoded, "toarray") else np.asarray(encoded, dtype=float)
        values = self._shap.shap_values(dense, check_additivity=False)
        values = values.reshape(*dense.shape, -1)  # a regressor's have no axis for labels
        sums = np.zeros((len(rows), len(self._manifest.features), values.shape[-1]))
        for column, feature in enumerate(self._origins):
            sums[:, feature] += values[:, column]
        found = [self._one(each, prediction) for each, prediction in zip(sums, predictions, strict=True)]
        return _insist(self._manifest, found, predictions)

    def _one(self, sums: Numbers, prediction: Prediction) -> Explanation:
        target = self._manifest.target
        if target.labels is None:
            place, scale = 0, "value"
        else:
            place, scale = target.labels.index(target.positive or str(prediction.label)), "probability"
        return Explanation(
            scale=scale,  # type: ignore[arg-type]  # one of two literals
            base=self._bases[place],
            contributions=tuple(sums[:, place].tolist()),
        )


def _sign(target: Target) -> int:
    """The coefficients of two classes speak for the second one."""
    return -1 if target.labels is not None and target.positive == target.labels[0] else 1


def _insist(
    manifest: Manifest, found: list[Explanation], predictions: Sequence[Prediction]
) -> list[Explanation]:
    """Let no explanation leave that explains another answer than the one that was given."""
    for explanation, prediction in zip(found, predictions, strict=True):
        total = explanation.base + sum(explanation.contributions)
        came = _logistic(total) if explanation.scale == "log-odds" else total
        if not isfinite(total) or not isclose(came, score(prediction), rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise PredictionFailed(
                f"model {manifest.model!r} version {manifest.version!r}: the contributions do not add up"
            )
    return found


def score(prediction: Prediction) -> float:
    """Name the one number of an answer that is explained."""
    if prediction.probabilities is not None and prediction.label is not None:
        return prediction.probabilities[prediction.label]
    return float((prediction.value if prediction.probability is None else prediction.probability) or 0.0)


def _logistic(total: float) -> float:
    if total < 0:
        return exp(total) / (1 + exp(total)) if total > -inf else 0.0
    return 1 / (1 + exp(-total))


def baselines(manifest: Manifest, estimator: Any, inputs: Any) -> tuple[float, ...] | None:
    """Give the mean of each feature's term over the training rows; None for what has no terms."""
    try:
        return tuple(Terms(manifest, estimator).of(inputs).mean(axis=0).tolist())
    except NotExplained:
        return None


def importances(
    manifest: Manifest, estimator: Any, rows: Rows, predictions: Sequence[Prediction]
) -> tuple[float, ...] | None:
    """Give each feature's mean absolute contribution over these rows; None for what cannot be explained."""
    try:
        found = explainer_of(manifest, estimator).explain(rows, predictions)
    except NotExplained:
        return None
    return tuple(np.abs([each.contributions for each in found]).mean(axis=0).tolist())
