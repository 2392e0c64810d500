"""The plots of what performance was measured to be: which of them is asked for, and from what it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.plots import ink, progress, quality

PROGRESS, CALIBRATION, CONFUSION = "progress", "calibration", "confusion"
# What one looks at first, where no metric is named.
HEADLINE: Mapping[str, str] = {"classifier": "accuracy_score", "regressor": "root_mean_squared_error"}


def drawn(content: Mapping[str, Any], plot: str, metric: str | None = None) -> bytes:
    """Draw one plot of an answer of `/v1/models/{model}/performance`; progress needs its buckets."""
    if plot == CALIBRATION:
        return ink.file(quality.calibration(_bins(content)))
    if plot == CONFUSION:
        matrix = content.get("confusion_matrix", {"labels": [], "counts": []})
        return ink.file(quality.confusion(matrix["labels"], matrix["counts"]))
    name = metric or HEADLINE[content["kind"]]
    points = [_point(each, name) for each in content.get("buckets", ())]
    training = content["metrics"].get(name, {}).get("at_training")
    return ink.file(progress.over_time(name, points, training))


def _point(bucket: Mapping[str, Any], name: str) -> progress.Point:
    found = bucket["metrics"].get(name, {})
    return progress.Point(
        at=datetime.fromisoformat(bucket["from"]),
        value=found.get("value"),
        low=found.get("low"),
        high=found.get("high"),
    )


def _bins(content: Mapping[str, Any]) -> list[quality.Bin]:
    """Take the groups that hold enough predictions for a share."""
    known = [each for each in content.get("calibration", ()) if each["observed"]["value"] is not None]
    return [
        quality.Bin(
            predicted=each["predicted"],
            observed=each["observed"]["value"],
            n=each["observed"]["n"],
            low=each["observed"]["low"],
            high=each["observed"]["high"],
        )
        for each in known
    ]
