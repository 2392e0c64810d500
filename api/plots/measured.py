"""The plots of what performance was measured to be: which of them is asked for, and from what it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from api.plots import actuals, curves, ink, progress, quality

Content = Mapping[str, Any]
PROGRESS = "progress"
# What each plot shows, in a line.
SAID: Mapping[str, str] = {
    PROGRESS: "Over time: how good it was",
    "confusion": "Confusion matrix: what was answered, by what it was",
    "roc": "ROC curve: how many of the positive ones are found, by how many of the others are taken for one",
    "precision_recall": "Precision and recall: how many taken for positive are, by how many of them are found",
    "calibration": "Calibration: how often it was so, by how probable it was said to be",
    "actuals": "Predicted and actual: what happened, by what was answered",
    "residuals": "Errors: how far off answers were, by what was answered",
}
# What one looks at first, where no metric is named.
HEADLINE: Mapping[str, str] = {"classifier": "accuracy_score", "regressor": "root_mean_squared_error"}


def drawn(content: Content, plot: str, metric: str | None = None) -> bytes:
    """Draw one plot of an answer of `/v1/models/{model}/performance` as a file; progress needs its buckets."""
    return ink.file(over_time(content, metric) if plot == PROGRESS else PLOTS[plot](content))


def over_time(content: Content, metric: str | None = None, title: str | None = None) -> str:
    """Draw how a metric went, bucket by bucket, under its own name or in words."""
    name = metric or HEADLINE[content["kind"]]
    points = [_point(each, name) for each in content.get("buckets", ())]
    training = content["metrics"].get(name, {}).get("at_training")
    return progress.over_time(title or name, points, training)


def calibration(content: Content) -> str:
    """Draw what was said against what was so, in use and on the held-out rows."""
    # Of groups that hold enough predictions for a share.
    known = [each for each in content.get("calibration", ()) if each["observed"]["value"] is not None]
    bins = [
        quality.Bin(
            predicted=each["predicted"],
            observed=each["observed"]["value"],
            n=each["observed"]["n"],
            low=each["observed"]["low"],
            high=each["observed"]["high"],
        )
        for each in known
    ]
    before = content.get("at_training", {}).get("calibration", ())
    held_out = [quality.Bin(**each) for each in before] if len(before) > 1 else []  # one group is no curve
    return quality.calibration(bins, held_out)


def confusion(content: Content) -> str:
    """Draw the confusion matrix."""
    matrix = content.get("confusion_matrix", {"labels": [], "counts": []})
    return quality.confusion(matrix["labels"], matrix["counts"])


def roc(content: Content) -> str:
    """Draw the ROC curve, in use and of the held-out rows."""
    axes, metric = ("false_positive_rate", "true_positive_rate"), "roc_auc_score"
    return curves.roc(_shown(content, axes, metric), _held_out(content, axes, metric))


def precision_recall(content: Content) -> str:
    """Draw the precision against the recall, in use and of the held-out rows."""
    axes, metric = ("true_positive_rate", "precision"), "average_precision_score"
    return curves.precision_recall(_shown(content, axes, metric), _held_out(content, axes, metric))


def predicted_and_actual(content: Content) -> str:
    """Draw what happened by what was answered, in use and on the held-out rows."""
    return actuals.actuals(*_sides(content))


def residuals(content: Content) -> str:
    """Draw how far off answers were by what was answered, in use and on the held-out rows."""
    return actuals.residuals(*_sides(content))


PLOTS: Mapping[str, Callable[[Content], str]] = {
    PROGRESS: over_time,
    "calibration": calibration,
    "confusion": confusion,
    "roc": roc,
    "precision_recall": precision_recall,
    "actuals": predicted_and_actual,
    "residuals": residuals,
}
_NEEDED = {
    "confusion": "confusion_matrix",
    "roc": "roc_curve",
    "precision_recall": "roc_curve",
    "residuals": "actuals",
}


def drawable(content: Content) -> list[str]:
    """Name the plots that an answer has something for, in the order in which one looks at them."""
    if not content["outcomes"]:
        return []
    order = ("roc", "precision_recall", "calibration", "confusion", "actuals", "residuals")
    return [PROGRESS, *(plot for plot in order if content.get(_NEEDED.get(plot, plot)))]


def drawable_of_training(content: Content) -> list[str]:
    """Name the plots of what a version's manifest holds of its held-out rows."""
    known = content.get("at_training", {})
    return [
        *(["roc"] if "roc_curve" in known else []),
        *(["calibration"] if len(known.get("calibration", ())) > 1 else []),
        *(["actuals", "residuals"] if "actuals" in known else []),
    ]


def _sides(content: Content) -> tuple[actuals.Side | None, actuals.Side | None]:
    metric = content["metrics"].get("mean_absolute_error", {})
    before = content.get("at_training", {})
    return _side(content, metric.get("value")), _side(before, metric.get("at_training"))


def _side(content: Content, off: float | None) -> actuals.Side | None:
    groups = [actuals.Group(**each) for each in content.get("actuals", ())]
    return actuals.Side(groups=groups, off=off) if groups else None


def _shown(content: Content, axes: tuple[str, str], metric: str) -> curves.Curve | None:
    if "roc_curve" not in content:
        return None
    found = content["metrics"][metric]
    points = _points(content["roc_curve"], axes)
    return curves.Curve(
        points=points, area=found["value"], low=found["low"], high=found["high"], n=found["n"]
    )


def _held_out(content: Content, axes: tuple[str, str], metric: str) -> curves.Curve | None:
    found = content.get("at_training", {}).get("roc_curve")
    area = content["metrics"].get(metric, {}).get("at_training")
    return None if found is None or area is None else curves.Curve(points=_points(found, axes), area=area)


def _points(curve: Mapping[str, Any], axes: tuple[str, str]) -> list[tuple[float, float]]:
    across, up = (curve[each] for each in axes)
    return [pair for pair in zip(across, up, strict=True) if None not in pair]


def _point(bucket: Content, name: str) -> progress.Point:
    found = bucket["metrics"].get(name, {})
    return progress.Point(
        at=datetime.fromisoformat(bucket["from"]),
        value=found.get("value"),
        low=found.get("low"),
        high=found.get("high"),
    )
