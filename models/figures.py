"""
What pictures of how good a version is are drawn from: bounded figures of many rows, none of which tells of one row.

Kept in a manifest of the rows held out of training, and computed of what happened since.
"""

from dataclasses import dataclass

from marshmallow import fields

from models.shapes import Shape, Tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Held-out rows in groups of about one probability: its mean, how often it was so, of how many."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A ROC curve in few points (models/curves.py), which is a precision-recall curve, too: of each point, its values.

    What scores at least `threshold` counts as positive; None where it would tell of single rows.
    """

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    precision: tuple[float | None, ...]  # None at the first point: nothing counts as positive there
    threshold: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuals:
    """
    Numbers that were answered beside those that happened, in groups of about one answer (models/actuals.py).

    Of each group the means, and between which values the middle half of what happened, and of the errors, lies.
    An error is the answer less what happened.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]
    actual_low: tuple[float, ...]
    actual_high: tuple[float, ...]
    error_low: tuple[float, ...]
    error_high: tuple[float, ...]
    counts: tuple[int, ...]


class CalibrationShape(Shape):
    """Reads and writes a calibration."""

    made = Calibration
    predicted = Tuple(fields.Float(), required=True)
    observed = Tuple(fields.Float(), required=True)
    counts = Tuple(fields.Integer(strict=True), required=True)


class CurveShape(Shape):
    """Reads and writes a curve."""

    made = Curve
    false_positive_rate = Tuple(fields.Float(), required=True)
    true_positive_rate = Tuple(fields.Float(), required=True)
    precision = Tuple(fields.Float(allow_none=True), required=True)
    threshold = Tuple(fields.Float(allow_none=True), required=True)


class ActualsShape(Shape):
    """Reads and writes them."""

    made = Actuals
    predicted = Tuple(fields.Float(), required=True)
    actual = Tuple(fields.Float(), required=True)
    actual_low = Tuple(fields.Float(), required=True)
    actual_high = Tuple(fields.Float(), required=True)
    error_low = Tuple(fields.Float(), required=True)
    error_high = Tuple(fields.Float(), required=True)
    counts = Tuple(fields.Integer(strict=True), required=True)
