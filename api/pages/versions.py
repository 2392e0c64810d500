"""What the API tells of a model and its champion, for pages that show it beside a form or an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.pages.access import Visitor
from api.pages.calling import ApiRefused, Question
from api.pages.measures import Measure, measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version as pages show it."""

    name: str
    content: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]
    measures: list[Measure]


def champion(visitor: Visitor, model: str) -> Version | None:
    """Ask for the version that answers; None where there is none, or the client may not read models."""
    if "models:read" not in visitor.scopes:
        return None
    content = _read(visitor, f"/v1/models/{model}")
    name = content["aliases"].get("champion")
    return None if name is None else version(visitor, model, name)


def version(visitor: Visitor, model: str, name: str) -> Version | None:
    """Ask for one version; None where the client may not read models, or it is no longer told of."""
    if "models:read" not in visitor.scopes:
        return None
    try:
        content = _read(visitor, f"/v1/models/{model}/versions/{name}")
    except ApiRefused as refused:
        if refused.status == 404:
            return None
        raise
    return Version(
        name=name,
        content=content,
        profiles={each["name"]: each for each in content.get("features", ())},
        measures=measures(content.get("metrics", {})),
    )


def _read(visitor: Visitor, path: str) -> Any:
    return visitor.ask(Question(method="GET", path=path)).content
