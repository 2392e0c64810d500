"""An answer of many predictions is written another way than one of few, and has the very same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.engine import wording
from api.engine.answers import Answering
from api.engine.desk import Request
from models import registry

STORE = Path(__file__).parent.parent / "models" / "store"
MODELS = ("credit", "housing", "income", "iris", "two-features")
RECORD = str(UUID(int=7))
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
_WARNINGS = st.lists(st.tuples(_TEXT, _TEXT), max_size=2)


@st.composite
def answered(draw: st.DrawFn) -> tuple[list[str | None], dict[str, list[Any]], list[Any]]:
    """Draw what may be said of some instances: references, the parts of the answers, warnings."""
    size = draw(st.integers(1, 5))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=size, max_size=size))

    kinds = {
        "label": _TEXT,
        "probabilities": st.dictionaries(_TEXT, _NUMBER, max_size=2),
        draw(_TEXT): _NUMBER,
    }
    members = {name: column(values) for name, values in kinds.items() if name != "id"}
    return column(st.none() | _TEXT), members, column(_WARNINGS)


@given(answered())
def test_columns_are_written_as_rows_are(
    said: tuple[Sequence[str | None], Mapping[str, Sequence[Any]], Sequence[Any]],
) -> None:
    """Quotes, percent signs, line separators, numbers of any size: no byte is another."""
    references, members, warnings = said
    rows = [dict(zip(members, values, strict=True)) for values in zip(*members.values(), strict=True)]
    each = zip(references, rows, warnings, strict=True)
    shown = [wording.prediction(f"{RECORD}.{position}", *one) for position, one in enumerate(each)]

    assert wording.predictions(RECORD, "m", "1", shown) == wording.many(
        (RECORD, "m", "1"), references, members, warnings
    )


def request(model: str) -> Request:
    """Ask about 150 instances, some with a reference, the first one with a number that training never saw."""
    golden = registry.load(STORE, model, "1", None).manifest.golden.instances
    instances = [dict(golden[nth % len(golden)]) for nth in range(150)]
    numbers = [name for name, value in instances[0].items() if type(value) in (int, float)]
    instances[0][numbers[0]] = 10**9
    for each in instances[:100]:
        each["reference"] = 'a "%s" of ours'
    door: Any = None
    return Request(
        door=door,
        number=1,
        record=UUID(RECORD),
        client_id="demo-a",
        actor=b"{}",
        model=model,
        version="1",
        alias=None,
        received_at_us=1,
        taken_at_us=2,
        deadline=1.0,
        body=orjson.dumps({"instances": instances}),
    )


@pytest.mark.parametrize("model", MODELS)
def test_what_is_recorded_does_not_depend_on_how_many_there_are(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every example model, answer, rows and record are the same whichever way they are written."""
    asked, loaded = request(model), registry.load(STORE, model, "1", None)
    records = []
    for many in (1, 1000):
        monkeypatch.setattr(wording, "MANY", many)
        [[ready]] = Answering(loaded, lambda: 3).answers([asked])
        records.append(ready.record)

    assert records[0] == records[1]
    assert orjson.loads(records[0].output)["predictions"][0]["warnings"] != []
