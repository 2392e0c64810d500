"""Metrics in words: what scikit-learn's names mean to who reads them, and how each is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.pages.locales import number, percent, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric of a version, said for people."""

    name: str
    label: str
    text: str
    meaning: str


# name: (label, is a share, what it means); the first that a model has is its headline.
_KNOWN = {
    "accuracy_score": ("Accuracy", True, "answers that were right"),
    "r2_score": ("Explained (R²)", True, "of the differences it explains"),
    "roc_auc_score": ("ROC AUC", False, "1: puts every yes above every no; 0.5: no better than chance"),
    "balanced_accuracy_score": ("Balanced accuracy", True, "right answers, each label counting the same"),
    "average_precision_score": ("Average precision", False, "1: finds every yes without a false alarm"),
    "brier_score_loss": ("Brier score", False, "0: every probability was right"),
    "log_loss": ("Log loss", False, "0: certain and right each time; lower is better"),
    "mean_absolute_error": (
        "Mean absolute error",
        False,
        "how far off it is on average, in the unit of the answer",
    ),
    "root_mean_squared_error": ("RMSE", False, "the same, large errors counting more"),
    "mean_absolute_percentage_error": (
        "Mean absolute error, as a share",
        False,
        "how far off it is, of what happened",
    ),
    "mean_error": ("Mean error", False, "above zero, answers are too high"),
}


def measures(metrics: Mapping[str, float]) -> list[Measure]:
    """List what is known of how good a version is, the headline first."""
    order = [*(each for each in _KNOWN if each in metrics), *(each for each in metrics if each not in _KNOWN)]
    return [_measure(each, metrics[each]) for each in order]


def described(name: str) -> str:
    """Say in a word what a metric is."""
    return _KNOWN[name][0] if name in _KNOWN else words(name)


def _measure(name: str, value: float) -> Measure:
    label, is_share, meaning = _KNOWN.get(name, (words(name), False, ""))
    text = percent(value) if is_share and value >= 0 else number(value, 3)
    return Measure(name=name, label=label, text=text, meaning=meaning)
