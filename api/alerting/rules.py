"""When somebody wants to be told: the `x-alerts` of a model's contract, read and refused by name.

Pure: what a rule measures is for api/alerting/measuring.py to find out, what is done about it for
api/engine/alerting.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError, fields, post_load, validate

Direction = Literal["above", "below"]

# Measured column by column; without a feature, the largest of all columns counts.
OF_COLUMNS = ("psi", "jensen_shannon", "missing", "unseen")
OUTPUT = "output"  # stands for what is answered, whatever it is called
ESTIMATE = "estimate."
_ESTIMATED = (
    "accuracy_score",
    "balanced_accuracy_score",
    "roc_auc_score",
    "average_precision_score",
    "brier_score_loss",
    "log_loss",
)
PERFORMANCE = "performance."
_PERFORMED = (
    *_ESTIMATED,
    "mean_absolute_error",
    "root_mean_squared_error",
    "mean_absolute_percentage_error",
    "mean_error",
    "r2_score",
)
METRICS = (
    *OF_COLUMNS,
    *(ESTIMATE + name for name in _ESTIMATED),
    *(PERFORMANCE + name for name in _PERFORMED),
)
_UNITS_S = {"h": 3600, "d": 86_400}


class RulesRefused(Exception):
    """The alerts of a model's contract cannot be kept; says which one, and what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Fires while the metric of the champion's last `window_s` is beyond the threshold."""

    name: str
    metric: str
    window_s: int
    threshold: float
    direction: Direction = "above"
    minimum_n: int = 200
    feature: str | None = None
    webhook: str | None = None

    def is_beyond(self, value: float) -> bool:
        """Say whether a value is one that somebody wants to be told of."""
        return value > self.threshold if self.direction == "above" else value < self.threshold


class _Rule(Schema):
    name = fields.String(required=True, validate=validate.Regexp(r"[a-z0-9][a-z0-9-]{0,62}\Z"))
    metric = fields.String(required=True, validate=validate.OneOf(METRICS))
    window = fields.String(
        required=True, validate=validate.Regexp(r"[1-9]\d{0,3}[hd]\Z", error="Must be such as 24h or 7d.")
    )
    threshold = fields.Float(required=True)
    direction = fields.String(validate=validate.OneOf(["above", "below"]))
    minimum_n = fields.Integer(strict=True, validate=validate.Range(min=1))
    feature = fields.String()
    webhook = fields.Url(schemes={"http", "https"}, require_tld=False)

    @post_load
    def make(self, members: dict[str, object], **_: object) -> Rule:
        window = str(members.pop("window"))
        return Rule(window_s=int(window[:-1]) * _UNITS_S[window[-1]], **members)  # type: ignore[arg-type]  # each field above has made its own type


def parse(members: object, columns: Sequence[str]) -> tuple[Rule, ...]:
    """
    Read the `x-alerts` of a model that has these columns.

    Raises:
        RulesRefused: naming every rule and member that cannot be kept.
    """
    if not isinstance(members, list):
        raise RulesRefused("x-alerts must be a list of rules")
    try:
        rules: list[Rule] = _Rule(many=True).load(members)
    except ValidationError as error:
        raise RulesRefused(f"x-alerts: {_said(members, error)}") from error
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RulesRefused(f"x-alerts: two rules have the name {', '.join(twice)}")
    for rule in rules:
        _insist_on_the_feature(rule, columns)
    return tuple(rules)


def _said(members: Sequence[object], error: ValidationError) -> str:
    parts = []
    for place, wrong in sorted(error.messages_dict.items()):
        rule = members[int(place)]
        name = rule.get("name", place) if isinstance(rule, dict) else place
        listed = wrong if isinstance(wrong, dict) else {"rule": wrong}
        parts += [f"{name}: {member}: {' '.join(map(str, said))}" for member, said in listed.items()]
    return "; ".join(parts)


def _insist_on_the_feature(rule: Rule, columns: Sequence[str]) -> None:
    if rule.feature is None:
        return
    if rule.metric not in OF_COLUMNS:
        raise RulesRefused(f"x-alerts: {rule.name}: {rule.metric} is not measured of one feature")
    if rule.feature not in columns:
        raise RulesRefused(f"x-alerts: {rule.name}: feature must be one of {', '.join(columns)}")


def insist_on_hosts(rules: Mapping[str, Sequence[Rule]], allowed: Sequence[str]) -> None:
    """Refuse a webhook that the operator does not allow: a contract must not make the engine ask any host it likes."""
    for model, of_model in rules.items():
        for rule in of_model:
            host = None if rule.webhook is None else urlsplit(rule.webhook).hostname
            if host is not None and host not in allowed:
                raise RulesRefused(
                    f"model {model}: x-alerts: {rule.name}: the host {host} is not in ONRECORD_WEBHOOK_HOSTS"
                )
