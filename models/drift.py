"""
How far a window of predictions is from what a version was trained on, or from an earlier window.

Pure: columns in, findings out. Two questions are asked of every feature and of the output, and a finding needs a yes
to both: can chance explain the difference (a test, its p-value adjusted for all that were made), and is the
difference large enough to matter (PSI, rates)? With a million rows every test is significant; with fifty every PSI
is large.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from models.manifest import FeatureProfile, Manifest, Target
from models.shifts import Column, Shift, Test, Verdict, measured, side, trained
from models.thresholds import Thresholds

# Benjamini and Hochberg 1995: where nothing has drifted, one window in `1 / significance` or fewer says otherwise.
CORRECTION = "benjamini-hochberg"
_RANK: Mapping[Verdict, int] = {"too few": -1, "stable": 0, "watch": 1, "drifted": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Predictions side by side: a column for each feature by name, None or NaN where missing, and what was answered."""

    features: Mapping[str, Column]
    output: Column  # values, probabilities of the positive label, or labels where there are more


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Every feature in the order of the manifest, the output, and the worst of their verdicts."""

    features: tuple[Shift, ...]
    output: Shift
    verdict: Verdict


def against_training(window: Window, manifest: Manifest, thresholds: Thresholds) -> Drift:
    """Compare a window with what training saw: features of the rows learnt from, answers to those held out."""
    *features, (target, answers) = _pairs(window, manifest)
    rows = manifest.data.train_rows
    shifts = [
        measured(profile, side(profile, column), trained(profile, rows)) for profile, column in features
    ]
    held_out = trained(target, sum(target.histogram.counts))
    shifts.append(measured(target, side(target, answers), held_out))
    return _judged(shifts, thresholds, reference_is_window=False)


def between(window: Window, earlier: Window, manifest: Manifest, thresholds: Thresholds) -> Drift:
    """Compare two windows of the same version; the bins are those of training, the same ruler for both."""
    pairs = zip(_pairs(window, manifest), _pairs(earlier, manifest), strict=True)
    shifts = [
        measured(profile, side(profile, ours), side(profile, theirs))
        for (profile, ours), (_, theirs) in pairs
    ]
    return _judged(shifts, thresholds, reference_is_window=True)


def _pairs(window: Window, manifest: Manifest) -> list[tuple[FeatureProfile, Column]]:
    pairs = [(profile, window.features[profile.name]) for profile in manifest.features]
    return [*pairs, (_profile_of(manifest.target), window.output)]


def _profile_of(target: Target) -> FeatureProfile:
    """Look at what is answered as at one more feature; no answer is out of range."""
    is_label = target.labels is not None and target.positive is None
    return FeatureProfile(
        name=target.name,
        kind="category" if is_label else "number",
        low=None,
        high=None,
        categories=target.labels if is_label else None,
        histogram=target.histogram,
        missing=0.0,
        nullable=False,
        text=False,
    )


def _judged(shifts: Sequence[Shift], thresholds: Thresholds, *, reference_is_window: bool) -> Drift:
    adjusted = _adjusted(shifts)
    judged = [_with_verdict(shift, thresholds, reference_is_window) for shift in adjusted]
    worst = max((shift.verdict for shift in judged), key=_RANK.__getitem__)
    return Drift(features=tuple(judged[:-1]), output=judged[-1], verdict=worst)


def _adjusted(shifts: Sequence[Shift]) -> list[Shift]:
    """Adjust every p-value for the number of tests that were made of this window."""
    tests = [test for shift in shifts for test in _tests(shift) if test is not None]
    if not tests:
        return list(shifts)
    fair = iter(stats.false_discovery_control([test.p_value for test in tests], method="bh").tolist())

    def again(test: Test | None) -> Test | None:
        return None if test is None else replace(test, p_adjusted=next(fair))

    return [
        replace(
            shift,
            test=again(shift.test),
            missing=replace(shift.missing, test=again(shift.missing.test)),
            unseen=replace(shift.unseen, test=again(shift.unseen.test)),
        )
        for shift in shifts
    ]


def _tests(shift: Shift) -> tuple[Test | None, Test | None, Test | None]:
    return shift.test, shift.missing.test, shift.unseen.test


def _with_verdict(shift: Shift, thresholds: Thresholds, reference_is_window: bool) -> Shift:
    if min(shift.n, shift.reference_n if reference_is_window else shift.n) < thresholds.minimum_n:
        return replace(shift, verdict="too few")

    def is_real(test: Test | None) -> bool:
        return test is not None and test.p_adjusted < thresholds.significance

    found: list[Verdict] = ["stable"]
    if any(map(is_real, _tests(shift))):
        found.append(_level(shift.psi, thresholds.psi_watch, thresholds.psi_drifted))
    for rate in (shift.missing, shift.unseen):
        if is_real(rate.test):
            change = abs(rate.value - rate.reference)
            found.append(_level(change, thresholds.rate_watch, thresholds.rate_drifted))
    return replace(shift, verdict=max(found, key=_RANK.__getitem__))


def _level(value: float, watch: float, drifted: float) -> Verdict:
    if value >= drifted:
        return "drifted"
    return "watch" if value >= watch else "stable"
