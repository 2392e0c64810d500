"""How much a model is used."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from api.calls import Answer, Call
from api.catalog import ModelUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts predictions; `count` goes no further than one beyond `most`."""

    models: Collection[str]
    count: Callable[[str], int]
    most: int

    def read(self, call: Call) -> Answer:
        """Say how many predictions of a model are kept."""
        model = call.path["model"]
        if model not in self.models:
            raise ModelUnknown
        found = self.count(model)
        content = {"model": model, "predictions": min(found, self.most), "is_more": found > self.most}
        return Answer(content=content)
