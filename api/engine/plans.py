"""What a change is before it is made: what was asked for, what it would do, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from api.engine.loading import Loading
from api.engine.roster import Table
from db.records import Kind, RequestKey

if TYPE_CHECKING:
    from db.groups import Then


class ChangeRefused(Exception):
    """The change cannot be made; `slug` names the problem that says so over HTTP."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug, self.detail = slug, detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is asked for, by whom and when."""

    name: str
    args: Mapping[str, Any]
    actor: Mapping[str, Any]
    now_us: int
    key: RequestKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What plans are made from; `reader` is a database engine that cannot write."""

    table: Table
    loading: Loading
    reader: Any
    hold_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change that looks possible; without `apply` nothing would change, and nothing is recorded.

    `said` is recorded in the place of what was asked for, where that must not be kept as it was said; `then` is done
    once the record is stored; `id` is the record's, where the answer names it.
    """

    kind: Kind
    result: dict[str, Any]
    apply: Callable[[Any], None] | None
    secret: str | None = None
    model: str | None = None
    version: str | None = None
    digest: str | None = None
    said: Mapping[str, Any] | None = None
    then: Then | None = None
    id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a change answers; `record` is absent where nothing had to change, `receipt` with it."""

    record: str | None
    result: dict[str, Any]
    receipt: str | None = None


def text_of(change: Change, name: str, default: str | None = None) -> str:
    """Read a text of what a change was asked with; raises ChangeRefused where it is none."""
    value = change.args.get(name, default)
    if not isinstance(value, str) or not value:
        raise ChangeRefused("validation", f"{change.name} needs {name}, a text")
    return value
