"""Drift: the same figures as scipy's on raw values, found where it is, and quiet where it is not."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from api import contract
from bench.drift import ALARMS, campaign
from models import drift, shifts
from models.drift import Window
from models.manifest import FeatureProfile, Histogram, Manifest
from models.shifts import Shift
from models.thresholds import Thresholds, ThresholdsRefused, parse
from tests import streams

QUIET = Thresholds()


def numeric(values: np.ndarray, bins: int = 20) -> FeatureProfile:
    """What training would have noted of these numbers."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    counts, _ = np.histogram(values, edges)
    histogram = Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))
    return _profile("x", "number", histogram, low=float(values.min()), high=float(values.max()))


def categorical(counts: dict[str, int]) -> FeatureProfile:
    """What training would have noted of so many of each category."""
    histogram = Histogram(edges=(), counts=tuple(counts.values()))
    return replace(_profile("x", "category", histogram), categories=tuple(counts))


def _profile(
    name: str, kind: str, histogram: Histogram, low: float | None = None, high: float | None = None
) -> FeatureProfile:
    return FeatureProfile(
        name=name, kind=kind, low=low, high=high, categories=None, histogram=histogram, missing=0.0, nullable=True,
        text=False,
    )  # type: ignore[arg-type]  # kind is one of the literals  # fmt: skip


def against(profile: FeatureProfile, column: object, rows: int) -> Shift:
    return shifts.measured(profile, shifts.side(profile, column), shifts.trained(profile, rows))  # type: ignore[arg-type]  # a column of any make


def test_two_windows_are_compared_as_scipy_compares_raw_values() -> None:
    """The statistic and p-value of two windows of a number are ks_2samp's of the values themselves."""
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.1, 1, 900), rng.normal(0, 1, 1100)
    profile = numeric(rng.normal(0, 1, 5000))

    found = shifts.measured(profile, shifts.side(profile, ours), shifts.side(profile, theirs)).test

    expected = stats.ks_2samp(ours, theirs, method="asymp")
    assert found is not None
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.approximation is None


def test_against_a_histogram_it_is_scipys_test_of_values_rounded_to_their_edges() -> None:
    """With training known by its bins alone, the test is ks_2samp's of bin numbers, and never above the raw one."""
    rng = np.random.default_rng(2)
    trained, ours = rng.gamma(2, 1, 8000), rng.gamma(2.1, 1, 700)
    profile = numeric(trained)

    found = against(profile, ours, len(trained)).test

    rounded = [np.searchsorted(profile.histogram.edges, each, side="right") for each in (ours, trained)]
    expected = stats.ks_2samp(*rounded, method="asymp")
    assert found is not None
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue), abs=2e-4)
    assert found.statistic <= stats.ks_2samp(ours, trained).statistic
    assert found.approximation == shifts.AT_EDGES


def test_categories_are_compared_by_chi_square() -> None:
    """Where every category is common, the test is chi2_contingency's of the table of counts."""
    column = ["a"] * 300 + ["b"] * 150 + ["c"] * 50

    found = against(categorical({"a": 2000, "b": 2000, "c": 500}), column, 4500).test

    expected = stats.chi2_contingency([[300, 150, 50], [2000, 2000, 500]])
    assert found is not None
    assert (found.name, found.statistic) == ("chi2_contingency", pytest.approx(expected.statistic))
    assert found.p_value == pytest.approx(expected.pvalue)


def test_rare_categories_are_tested_together() -> None:
    """Categories that too few rows could have (Cochran) share one column of the table, unseen ones with them."""
    column = ["a"] * 400 + ["r1", "r2", "new"]

    found = against(categorical({"a": 4000, "r1": 10, "r2": 12}), column, 4022).test

    expected = stats.chi2_contingency([[400, 3], [4000, 22]], correction=False)
    assert found is not None
    assert found.statistic == pytest.approx(expected.statistic)


def test_psi_and_distance_are_what_their_definitions_say() -> None:
    """PSI is the sum of (p - q) ln(p / q) and the Jensen-Shannon distance is 0 for equals, 1 for strangers."""
    share, reference = np.array([4000, 6000]), np.array([5000, 5000])

    by_hand = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.6 - 0.5) * np.log(0.6 / 0.5)
    assert shifts.psi(share, reference) == pytest.approx(by_hand, rel=1e-3)
    assert shifts.psi(share, share) == 0
    same = against(categorical({"a": 100, "b": 100}), ["a", "b"] * 100, 200)
    other = against(categorical({"a": 100, "b": 100}), ["z"] * 200, 200)
    assert (same.jensen_shannon, other.jensen_shannon) == (0, 1)


def test_missing_and_unseen_are_rates_of_their_own() -> None:
    """What is not there, and what training never held, is counted beside the distribution, by category and number."""
    trained = np.arange(1000.0)

    number = against(numeric(trained), [5.0, None, -1.0, 2000.0, 999.0, float("nan"), 0.0, 1.0], 1000)
    category = against(categorical({"a": 900, "b": 100}), ["a", None, "new", "b"], 1000)

    assert (number.missing.value, number.unseen.value) == (2 / 8, 2 / 8)
    assert (category.missing.value, category.unseen.value) == (1 / 4, 1 / 4)


def test_a_single_repeated_value_has_a_bin() -> None:
    """A feature that was the same in all of training counts its value, and what is not that value, apart."""
    profile = numeric(np.full(500, 5.0))
    profile = replace(profile, histogram=Histogram(edges=(5.0, 5.0), counts=(500,)))

    assert shifts.binned(np.array([4.0, 5.0, 5.0, 6.0]), profile.histogram.edges).tolist() == [1, 2, 1]


def only(shift: Shift, thresholds: Thresholds) -> str:
    return drift._judged([shift], thresholds, reference_is_window=False).verdict


def test_a_finding_needs_both_size_and_significance() -> None:
    """A tiny shift of a million rows is stable, a large one of few rows is too few, and in between it is named."""
    rng = np.random.default_rng(3)
    trained = rng.normal(0, 1, 50_000)
    profile = numeric(trained)

    tiny = against(profile, rng.normal(0.1, 1, 500_000), 50_000)
    middle = against(profile, rng.normal(0.4, 1, 2000), 50_000)
    large = against(profile, rng.normal(1, 1, 2000), 50_000)
    few = against(profile, rng.normal(1, 1, 100), 50_000)

    assert tiny.test is not None
    assert tiny.test.p_value < 1e-6
    assert [only(each, QUIET) for each in (tiny, middle, large, few)] == [
        "stable",
        "watch",
        "drifted",
        "too few",
    ]


def test_p_values_are_adjusted_as_scipy_adjusts_them() -> None:
    """Every test of a window, rates included, is one of the family that Benjamini and Hochberg's correction is for."""
    manifest, held_out = streams.reference(4)

    found = drift.against_training(streams.window(held_out[:1000]), manifest, QUIET)

    tests = [test for shift in (*found.features, found.output) for test in drift._tests(shift) if test]
    expected = stats.false_discovery_control([test.p_value for test in tests], method="bh")
    assert [test.p_adjusted for test in tests] == pytest.approx(expected.tolist())
    assert len(tests) > len(manifest.features)


def test_a_shift_in_the_middle_of_the_census_is_found() -> None:
    """From the window on in which persons are older, age has drifted; before that, nothing has."""
    manifest, held_out = streams.reference(7)
    before, after = held_out[:5000], streams.older(held_out[5000:9000], seed=7)

    found = [
        drift.against_training(each, manifest, QUIET) for each in streams.windows(np.append(before, after))
    ]

    assert [each.verdict for each in found] == ["stable"] * 5 + ["drifted"] * 4
    assert all(each.features[0].verdict == "drifted" for each in found[5:])


def test_a_shift_is_found_against_an_earlier_window_too() -> None:
    """Compared with the window before it, the shifted one has drifted, and one like it has not."""
    manifest, held_out = streams.reference(6)
    first, second = streams.window(held_out[:2000]), streams.window(held_out[2000:4000])
    shifted = streams.window(streams.older(held_out[4000:6000], seed=6))

    assert drift.between(second, first, manifest, QUIET).verdict == "stable"
    assert drift.between(shifted, second, manifest, QUIET).verdict == "drifted"


def test_the_census_without_a_shift_is_quiet() -> None:
    """Streams of persons in any order raise no alarm, and each with older persons does, in every window."""
    quiet, shifted = campaign(range(1000, 1003))

    assert quiet.windows == {"stable": 27}
    assert shifted.windows == {"drifted": 12}


@pytest.mark.soak
def test_false_alarms_are_as_rare_as_the_significance_says() -> None:
    """Over two hundred orders of the census, no more windows alarm than one in a hundred."""
    quiet, _ = campaign(range(1000, 1000 + int(os.environ.get("ONRECORD_SOAK", "3"))))

    assert sum(quiet.windows[alarm] for alarm in ALARMS) <= QUIET.significance * quiet.windows.total()


def test_every_example_can_be_judged() -> None:
    """Numbers, categories, three labels and a regressor's values: each shipped version's own goldens are too few."""
    for model in ("credit", "housing", "iris", "two-features", "income"):
        manifest = streams.registry.load(streams.STORE, model, "1", None).manifest

        found = drift.against_training(goldens(manifest), manifest, QUIET)

        assert found.verdict == "too few"
        assert len(found.features) == len(manifest.features)


def goldens(manifest: Manifest) -> Window:
    rows = manifest.golden.instances
    key = manifest.target.name if manifest.kind == "regressor" else "probability"
    key = "label" if manifest.target.labels and manifest.target.positive is None else key
    columns = {feature.name: [row[feature.name] for row in rows] for feature in manifest.features}
    return Window(features=columns, output=[output[key] for output in manifest.golden.outputs])


def test_thresholds_are_a_persons_to_set() -> None:
    """What x-drift says holds, and the rest is as usual."""
    assert parse({"psi_watch": 0.05, "minimum_n": 50}) == replace(QUIET, psi_watch=0.05, minimum_n=50)
    assert parse({}) == QUIET


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"psi_wacth": 0.1}, "psi_wacth: Unknown field"),
        ({"psi_watch": 0.3}, "psi_watch: must not be above psi_drifted, 0.25"),
        ({"significance": 2}, "significance: Must be greater than"),
        ({"minimum_n": 3}, "minimum_n: Must be greater than"),
        ({"rate_watch": "much", "minimum_n": 1.5}, "minimum_n: Not a valid integer"),
        ([], "must be a mapping"),
    ],
)
def test_thresholds_that_cannot_be_kept_are_refused_by_name(members: object, said: str) -> None:
    """A start names every member of x-drift that is misspelt, out of range or out of order."""
    with pytest.raises(ThresholdsRefused, match=said):
        parse(members)


def test_a_contract_with_wrong_thresholds_stops_the_start(tmp_path: Path) -> None:
    """The refusal names the file and the member, and right ones reach whoever judges."""
    folder = tmp_path / "openapi"
    shutil.copytree("openapi", folder)
    file = folder / "models" / "housing.yaml"
    file.write_text(file.read_text() + "x-drift:\n  psi_drifted: 0.2\n")
    assert contract.read(folder, 10).models["housing"].drift.psi_drifted == 0.2

    file.write_text(file.read_text() + "  psi_watch: 0.3\n")

    with pytest.raises(
        contract.ContractRefused, match=r"housing.yaml: x-drift: psi_watch: must not be above"
    ):
        contract.read(folder, 10)
