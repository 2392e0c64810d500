"""Recorded predictions as one frame of columns: what performance, drift and exports ask for.

    frames = Frames(models=contract.models, reader=reader)
    found = frames.read(Selection(model="income", version="1", from_us=…, to_us=…, features=("age",)))
    found.frame.features["age"], found.frame.score, found.frame.outcome, …    # models/columns.py says what each is
    found.size, found.erased                                                  # of the ledger; of what is gone

Blocks for as long as it reads: call it from a thread, never on an event loop. numpy is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.composition import ModelContract
from api.problems import RequestRefused, validation
from db import columns, predicted
from db.predicted import NotMadeYet, TooMuch, Wanted

if TYPE_CHECKING:
    from models.columns import Frame

_ALWAYS = ("idx", "position", "at", "label", "score", "warnings")
_NUMBERS = ("number", "integer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which predictions; both times belong to it, None means any. `features` names columns; None means all."""

    model: str
    version: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    features: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The frame as of a ledger of `size` records; `erased` predictions are gone from among those selected."""

    frame: Frame
    size: int
    erased: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Reads through an engine of `open_reader`; features are what the contract says they are."""

    models: Mapping[str, ModelContract]
    reader: Any

    def read(self, selection: Selection) -> Found:
        """Read what was predicted and, where it was reported, what really happened.

        Raises:
            RequestRefused: there are too many, or they cannot be read fast enough yet.
            StorageUnavailable: the database failed.
        """
        from models.columns import Chunk, frame

        contract = self.models[selection.model]
        found = _read(
            self.reader,
            Wanted(
                model=selection.model,
                version=selection.version,
                from_us=selection.from_us,
                to_us=selection.to_us,
                names=_names(contract, selection.features),
            ),
        )
        chunks = (Chunk(each.version, each.columns) for each in found.chunks)
        within = (selection.from_us, selection.to_us)
        named = contract.features if selection.features is None else selection.features
        kinds = {name: is_numeric(contract.features[name]) for name in named}
        made = frame(chunks, found.outcomes, numeric=kinds, within=within)
        return Found(frame=made, size=found.size, erased=found.erased)


def _read(reader: Any, wanted: Wanted) -> predicted.Read:
    try:
        return predicted.read(reader, wanted)
    except TooMuch as many:
        detail = "too many predictions for one answer; name a later `from`, or an earlier `to`"
        raise validation([{"parameter": "from", "detail": detail}]) from many
    except NotMadeYet as early:
        detail = "what was predicted is still being put into columns; ask again in a minute"
        raise RequestRefused("overloaded", detail, Retry_After="60") from early


def is_numeric(schema: Mapping[str, Any]) -> bool:
    """Say whether a feature of the contract is a number; one that may also come as decimal text is."""
    forms = schema.get("oneOf", schema.get("anyOf", [schema]))
    return any(form.get("type") in _NUMBERS for form in forms)


def _names(contract: ModelContract, features: tuple[str, ...] | None) -> tuple[str, ...]:
    labels = contract.output.get("labels", ()) if "positive" not in contract.output else ()
    named = contract.features if features is None else features
    return (
        *_ALWAYS,
        *(columns.PROBABILITY + label for label in labels),
        *(columns.FEATURE + name for name in named),
    )
