"""
From where on a difference matters: what a person may set for one model in its contract, under `x-drift`.

Pure, and without numpy: a start refuses what is wrong here before anything heavy is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema


class ThresholdsRefused(Exception):
    """The thresholds of a model's contract cannot be kept; says which, and what they must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """
    The defaults are the ones in common use: a PSI of 0.1 is worth a look, one of 0.25 is another population.

    `rate_…`: how far the share of missing or of unseen values may move. `significance`: how many windows in which
    nothing has drifted may be called anything but stable. A window of fewer than `minimum_n` rows is not judged.
    """

    psi_watch: float = 0.1
    psi_drifted: float = 0.25
    rate_watch: float = 0.01
    rate_drifted: float = 0.05
    significance: float = 0.01
    minimum_n: int = 200


class _Thresholds(Schema):
    psi_watch = fields.Float(validate=validate.Range(min=0, min_inclusive=False))
    psi_drifted = fields.Float(validate=validate.Range(min=0, min_inclusive=False))
    rate_watch = fields.Float(validate=validate.Range(0, 1, min_inclusive=False))
    rate_drifted = fields.Float(validate=validate.Range(0, 1, min_inclusive=False))
    significance = fields.Float(validate=validate.Range(0, 0.5, min_inclusive=False))
    minimum_n = fields.Integer(strict=True, validate=validate.Range(min=20))

    @post_load
    def make(self, members: Mapping[str, float], **_: object) -> Thresholds:
        return Thresholds(**members)  # type: ignore[arg-type]  # each field above has made its own type

    @validates_schema
    def in_order(self, members: Mapping[str, float], **_: object) -> None:
        for name in ("psi", "rate"):
            watch = members.get(f"{name}_watch", getattr(Thresholds(), f"{name}_watch"))
            drifted = members.get(f"{name}_drifted", getattr(Thresholds(), f"{name}_drifted"))
            if watch > drifted:
                raise ValidationError(f"must not be above {name}_drifted, {drifted:g}", f"{name}_watch")


def parse(members: object) -> Thresholds:
    """
    Read the `x-drift` of a model's contract; what it does not say is as usual.

    Raises:
        ThresholdsRefused: naming every member that cannot be kept.
    """
    if not isinstance(members, dict):
        raise ThresholdsRefused("x-drift must be a mapping of thresholds")
    try:
        thresholds: Thresholds = _Thresholds().load(members)
    except ValidationError as error:
        wrong = "; ".join(f"{name}: {' '.join(map(str, said))}" for name, said in error.messages_dict.items())
        raise ThresholdsRefused(f"x-drift: {wrong}") from error
    return thresholds
