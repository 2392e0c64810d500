"""Estimates without outcomes: equal to what outcomes would say while calibration holds, refused where it did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from models import estimates, registry
from models.estimates import NoEstimate, estimate, of_two
from models.figures import Calibration
from models.manifest import Manifest
from tests import streams


def shipped(model: str) -> Manifest:
    return registry.load(streams.STORE, model, "1", None).manifest


def actual(places: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """What these persons' outcomes say of the shipped model, and the probabilities it gives them."""
    frame, scores = streams.census()
    truth, said = (frame.iloc[:, -1].to_numpy(object) == ">50K")[places], scores[places]
    found = {
        "accuracy_score": metrics.accuracy_score(truth, said > 0.5),
        "roc_auc_score": metrics.roc_auc_score(truth, said),
        "brier_score_loss": metrics.brier_score_loss(truth, said),
    }
    return found, of_two(said, shipped("income").target)


@pytest.mark.parametrize("shift", [False, True], ids=["as in training", "older persons"])
def test_the_estimate_is_what_outcomes_will_say(shift: bool) -> None:
    """On the census, with and without a shift of age, estimates are within two hundredths of the truth."""
    _, places = streams.reference(3)
    places = streams.older(places, seed=3) if shift else places
    truth, scores = actual(places)

    found = estimate(scores, shipped("income")).metrics

    assert {name: found[name] for name in truth} == pytest.approx(truth, abs=0.02)


def test_a_shift_is_seen_in_the_estimate_before_outcomes_come() -> None:
    """Of married persons only the model is worse than at training, and the estimate says so without an outcome."""
    manifest = shipped("income")
    frame, places = streams.census()[0], streams.reference(3)[1]
    is_married = (frame["marital_status"] == "Married-civ-spouse").to_numpy()
    truth, scores = actual(places[is_married[places]])

    found = estimate(scores, manifest).metrics["accuracy_score"]

    at_training = manifest.metrics["accuracy_score"]
    assert truth["accuracy_score"] < at_training - 0.03
    assert abs(found - truth["accuracy_score"]) < abs(at_training - truth["accuracy_score"]) / 3


def test_expectations_are_those_of_hand() -> None:
    """Of rows with 0.9 and 0.2: expected confusion, accuracy and loss are sums of the probabilities themselves."""
    manifest = replace(
        shipped("income"), calibration=Calibration(predicted=(0, 1), observed=(0, 1), counts=(9, 9))
    )
    scores = of_two(np.array([0.9, 0.2]), manifest.target)

    found = estimate(scores, manifest)

    assert found.labels == ("<=50K", ">50K")
    assert np.array(found.confusion) == pytest.approx(np.array([[0.8, 0.1], [0.2, 0.9]]))
    assert found.metrics["accuracy_score"] == pytest.approx((0.9 + 0.8) / 2)
    assert found.metrics["brier_score_loss"] == pytest.approx((0.9 * 0.1 + 0.2 * 0.8) / 2)


def test_an_estimate_of_many_labels_counts_them_all() -> None:
    """Three labels: the expected accuracy is the mean of the largest probability, and no curve of two is claimed."""
    manifest = replace(
        shipped("iris"), calibration=Calibration(predicted=(0, 1), observed=(0, 1), counts=(9, 9))
    )

    found = estimate(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]), manifest)

    assert found.metrics["accuracy_score"] == pytest.approx(0.75)
    assert set(found.metrics) == set(manifest.metrics)
    assert np.sum(found.confusion) == pytest.approx(2)


def test_an_estimate_has_the_metrics_of_training() -> None:
    """What is estimated can be read beside what the version had at training, name by name."""
    manifest = shipped("income")

    found = estimate(of_two(np.array([0.9, 0.2, 0.4]), manifest.target), manifest)

    assert set(found.metrics) == set(manifest.metrics)


WRONG = {
    "a regressor": (lambda: shipped("housing"), "does not say how sure"),
    "too few held-out rows": (lambda: shipped("iris"), "too few rows"),
    "never measured": (lambda: replace(shipped("income"), calibration=None), "not measured"),
    "badly calibrated": (
        lambda: replace(
            shipped("income"),
            calibration=Calibration(predicted=(0.1, 0.9), observed=(0.3, 0.6), counts=(50, 50)),
        ),
        "off by 0.250 at training",
    ),
}


@pytest.mark.parametrize(("manifest", "why"), WRONG.values(), ids=WRONG.keys())
def test_an_estimate_that_would_not_be_sound_is_refused(manifest: object, why: str) -> None:
    """Regressors, and classifiers that were badly calibrated or nobody knows it, get none, and it is said why."""
    with pytest.raises(NoEstimate, match=why):
        estimate(np.array([[0.5, 0.5]]), manifest())  # type: ignore[operator]  # each makes a manifest


def test_no_rows_are_no_estimate() -> None:
    """An empty window has nothing to estimate from."""
    with pytest.raises(NoEstimate, match="no predictions"):
        estimate(np.empty((0, 2)), shipped("income"))


def test_calibration_is_measured_in_groups_of_equally_many() -> None:
    """Outcomes drawn from the probabilities themselves are calibrated; squared probabilities are found out."""
    rng = np.random.default_rng(1)
    target = shipped("income").target
    said = rng.uniform(0, 1, 5000)
    truth = np.where(rng.uniform(0, 1, 5000) < said, ">50K", "<=50K")

    good = estimates.calibration(of_two(said, target), truth, target)
    bad = estimates.calibration(of_two(said**2, target), truth, target)

    assert good.counts == (500,) * 10
    assert good.observed == pytest.approx(good.predicted, abs=0.05)
    with pytest.raises(NoEstimate, match="off by"):
        estimates.calibration_error(replace(shipped("income"), calibration=bad))
