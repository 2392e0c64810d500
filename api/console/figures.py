"""What performance was measured to be, as tables: each of them a file, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.console.tables import Column, Row, Table, wants_csv

Content = Mapping[str, Any]
MOST_GROUPS, MOST_POINTS = 50, 12  # of which a page shows; the file has all
_NUMBER = ("value", "low", "high")
_INTERVAL = (
    Column(name="value", title="Value", kind="fixed"),
    Column(name="low", title="From", kind="fixed"),
    Column(name="high", title="To (95 %)", kind="fixed"),
    Column(name="n", title="Predictions", kind="number"),
)
_WHY = Column(name="reason", title="Why not")


def of_all(model: str, found: Content) -> Table:
    """List the metrics."""
    return Table(
        name=f"performance-{model}",
        title="Metrics, under their names in scikit-learn",
        empty="Nothing can be measured yet.",
        rows=[{"metric": name, **each} for name, each in found["metrics"].items()],
        columns=[
            Column(name="metric", title="Metric"),
            *_INTERVAL,
            Column(name="at_training", title="Held out of training", kind="fixed"),
            _WHY,
        ],
    )


def others(found: Content, metric: str) -> list[Table]:
    """List everything else there is to list: groups by one metric, labels, what was answered, and the curves."""
    tables = [_by_time(found, metric), _by_value(found, metric), _labels(found), _answered(found)]
    tables += [_calibration(found), curve(found), actuals(found), _errors(found)]
    return [each for each in tables if each.rows]


def _by_time(found: Content, metric: str) -> Table:
    buckets = found.get("buckets", ())
    shown = buckets if wants_csv() else buckets[-MOST_GROUPS:]
    rows = [{"from": each["from"], "to": each["to"], **_group(each, metric)} for each in reversed(shown)]
    times = [
        Column(name=name, title=title, kind="time")
        for name, title in (("from", "From (UTC)"), ("to", "Before"))
    ]
    return _groups(
        "by-time", _counted(f"{metric} by {found.get('bucket', 'time')}, newest first", buckets), times, rows
    )


def _by_value(found: Content, metric: str) -> Table:
    rows = [{"values": _values(each), **_group(each, metric)} for each in found.get("slices", ())]
    column = Column(name="values", title=found.get("by", ""))
    return _groups("by-value", f"{metric} by {found.get('by', 'value')}", [column], rows)


def _groups(name: str, title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    outcomes = Column(name="outcomes", title="With an outcome", kind="number")
    all_columns = [*columns, *_INTERVAL[:3], outcomes, _WHY]
    return Table(name=name, title=title, empty="", rows=rows, columns=all_columns)


def _group(group: Content, metric: str) -> dict[str, Any]:
    found = group["metrics"].get(metric, {"reason": "there is no such metric"})
    return {**found, "outcomes": group["outcomes"]}


def _values(group: Content) -> str:
    if "value" in group:
        return str(group["value"])
    if "low" in group:
        return f"{group['low']:g} to {group['high']:g}"
    return "rare ones together" if "is_rest" in group else "no value"


def _counted(title: str, all_rows: Sequence[Any]) -> str:
    return (
        f"{title} ({MOST_GROUPS} of {len(all_rows)}; the file has all)"
        if len(all_rows) > MOST_GROUPS
        else title
    )


def _labels(found: Content) -> Table:
    names = ("precision_score", "recall_score", "f1_score")
    rows = [
        {"label": each["label"], **{f"{name}_{end}": each[name][end] for name in names for end in _NUMBER}}
        for each in found.get("labels", ())
        if found["outcomes"]
    ]
    columns = [
        Column(name=f"{name}_{end}", title=title if end == "value" else word, kind="number")
        for name, title in zip(names, ("Precision", "Recall", "F1"), strict=True)
        for end, word in zip(_NUMBER, ("", "from", "to"), strict=True)
    ]
    label = Column(name="label", title="Label")
    return Table(name="labels", title="Each label", empty="", rows=rows, columns=[label, *columns])


def _answered(found: Content) -> Table:
    matrix = found.get("confusion_matrix", {"labels": [], "counts": []})
    # By place: a label may be called `happened`.
    rows = [
        {"happened": label, **{str(place): count for place, count in enumerate(counts)}}
        for label, counts in zip(matrix["labels"], matrix["counts"], strict=True)
    ]
    columns = [
        Column(name=str(place), title=label, kind="number") for place, label in enumerate(matrix["labels"])
    ]
    happened = Column(name="happened", title="Happened")
    title = "What was answered, by what happened"
    return Table(name="confusion", title=title, empty="", rows=rows, columns=[happened, *columns])


def _calibration(found: Content) -> Table:
    rows = [
        {
            "low_edge": each["low"],
            "high_edge": each["high"],
            "predicted": each["predicted"],
            **each["observed"],
        }
        for each in found.get("calibration", ())
    ]
    columns = [
        Column(name="low_edge", title="Probability from", kind="number"),
        Column(name="high_edge", title="to", kind="number"),
        Column(name="predicted", title="Predicted, mean", kind="number"),
        Column(name="value", title="Observed", kind="number"),
        *_INTERVAL[1:],
    ]
    title = "How often it was so, by how probable it was said to be"
    return Table(name="calibration", title=title, empty="", rows=rows, columns=columns)


def curve(found: Content) -> Table:
    """List points of the curve that have a threshold, all along it; the file has every point."""
    names = ("threshold", "false_positive_rate", "true_positive_rate", "precision")
    drawn = found.get("roc_curve", {})
    points = [
        dict(zip(names, each, strict=True))
        for each in zip(*(drawn.get(name, ()) for name in names), strict=True)
    ]
    shown = points if wants_csv() else _few([each for each in points if each["threshold"] is not None])
    titles = ("Probability from", "False positive rate", "True positive rate (recall)", "Precision")
    columns = [
        Column(name=name, title=title, kind="number") for name, title in zip(names, titles, strict=True)
    ]
    title = "What counting as positive from a probability on would mean"
    if len(shown) < len(points):
        title += f" ({len(shown)} of {len(points)} points; the file has all)"
    return Table(name="roc_curve", title=title, empty="", rows=shown, columns=columns)


def actuals(found: Content) -> Table:
    """List answers of a regressor beside what happened, in use and of the rows held out of training."""
    sides = (("in use", found), ("held out of training", found.get("at_training", {})))
    rows = [{"of": name, **each} for name, side in sides for each in side.get("actuals", ())]
    titles = {
        "predicted": "Predicted, mean",
        "actual": "Actual, mean",
        "actual_low": "Actual: half from",
        "actual_high": "to",
        "error_low": "Error: half from",
        "error_high": "to",
    }
    columns = [
        Column(name="of", title="Of"),
        *(Column(name=name, title=title, kind="fixed") for name, title in titles.items()),
        Column(name="n", title="Predictions", kind="number"),
    ]
    title = "What happened by what was answered, and answer less what happened"
    return Table(name="actuals", title=title, empty="", rows=rows, columns=columns)


def _errors(found: Content) -> Table:
    columns = [
        Column(name="quantile", title="Share of predictions", kind="number"),
        Column(name="error", title="off by less than (answer less outcome)", kind="fixed"),
    ]
    rows = found.get("errors", ())
    return Table(name="errors", title="How far answers were off", empty="", rows=rows, columns=columns)


def _few(points: Sequence[Row]) -> Sequence[Row]:
    """Choose points all along the curve."""
    if len(points) <= MOST_POINTS:
        return points
    last = len(points) - 1
    return [points[round(place * last / (MOST_POINTS - 1))] for place in range(MOST_POINTS)]
