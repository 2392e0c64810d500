"""What one request asks of a version, read off its body; the contract has seen to its form, or is asked for here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson

from api.bodies import is_strict
from api.engine.desk import Request
from models.declared import Declared, Undeclared
from models.model import BadFeatures, Model, Rows

if TYPE_CHECKING:
    from models.reasons import Reasons

# What a body that passed the door can still be: not JSON as the contract has it, or with values of no feature.
WRONG = (BadFeatures, ValueError, TypeError, KeyError, AttributeError)


@dataclass(slots=True, frozen=True, kw_only=True)
class Asked:
    """One request with its instances; `rows` are made of them already where no door has read the body."""

    request: Request
    instances: list[dict[str, Any]]
    references: list[str | None]
    is_explained: bool
    rows: Rows | None = None

    def __len__(self) -> int:
        return len(self.instances)

    @classmethod
    def of(cls, request: Request, body: Mapping[str, Any], rows: Rows | None = None) -> Self:
        """Name the parts of a body; raises WRONG."""
        instances = body["instances"]
        return cls(
            request=request,
            instances=instances,
            references=[instance.get("reference") for instance in instances],
            is_explained=bool(body.get("explain")),
            rows=rows,
        )


def read(request: Request) -> Asked:
    """Read a body that a door has read; raises WRONG where it cannot be the same contract's."""
    return Asked.of(request, orjson.loads(request.body))


def read_first(request: Request, said: Mapping[str, Any], model: Model) -> Asked | None:
    """Read a body that no door has read; None where it is not plainly what the contract allows (api/large.py)."""
    try:
        body = orjson.loads(request.body)
        rest = {name: member for name, member in body.items() if name != "instances"}
        if (rest, len(body["instances"])) != (said["rest"], said["count"]) or not is_strict(
            request.body, body
        ):
            return None
        return Asked.of(request, body, model.check(body["instances"], Declared.read(said)))
    except (*WRONG, Undeclared):
        return None


def checked(asked: Sequence[Asked], model: Model | Reasons) -> Rows:
    """Check what all of these ask, in one pass; raises WRONG."""
    if any(each.rows is not None for each in asked):
        return Rows.join([each.rows or model.check(each.instances) for each in asked])
    return model.check([instance for each in asked for instance in each.instances])
