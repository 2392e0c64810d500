"""A frame is what was recorded: no row more or less than the payloads say, whatever lies between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.composition import ModelContract
from api.frames import Found, Frames, Selection
from api.problems import RequestRefused
from db import predicted
from db.engine import open_reader
from tests import changing, sealed
from tests.answering import recorded
from tests.blocking import make_blocks
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, changed, fresh, writing
from tests.test_columns import seen

MODEL = ModelContract(
    model="income",
    title="",
    description="",
    features={"age": {"type": "integer"}, "sex": {"type": "string"}},
    output={"kind": "classifier", "labels": ["a", "b"], "positive": "b"},
    examples=(),
)
ROWS = 60


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Write predictions of two models and versions, some of them failed, among other records."""
    url = fresh(request.param, request, tmp_path)
    with writing(url) as ledger:
        for number in range(ROWS):
            ledger.append([_request(number), changed(at_us=NOON_US + number)])
        ledger.append([_request(3, model="other"), recorded(at_us=NOON_US, status=500)])
    return url


def _request(number: int, model: str = "income") -> Any:
    pairs = [
        (
            {"age": number + at, "sex": "fm"[at % 2], "reference": f"r-{number}"},
            {"label": "ab"[at % 2], "probability": at / 8},
        )
        for at in range(number % 3)
    ]
    return recorded(*pairs, model=model, version=str(1 + number // 40), at_us=NOON_US + number)


def frame_of(url: str, **wanted: Any) -> Found:
    """Read a frame as a door does."""
    reader = open_reader(url)
    try:
        return Frames(models={"income": MODEL}, reader=reader).read(Selection(model="income", **wanted))
    finally:
        reader.dispose()


def rows_of(found: Found) -> list[tuple[Any, ...]]:
    """Write a frame as plain rows."""
    frame = found.frame
    columns = (frame.version, frame.features["age"], frame.features["sex"], frame.label, frame.score)
    places = (frame.idx.tolist(), frame.position.tolist(), frame.at_us.tolist())
    return list(zip(*places, *map(seen, columns), strict=True))


def recorded_rows(url: str) -> list[tuple[Any, ...]]:
    """Read the same off the payloads, one by one."""
    query = (
        "SELECT r.idx, r.observed_at_us, r.version, p.input, p.output FROM record r JOIN payload p ON"
        " p.record_id = r.id WHERE r.kind = 1 AND r.status = 201 AND r.model = 'income' ORDER BY r.idx"
    )
    found = []
    for idx, at_us, version, given, gone in sealed.sql(url, query):
        if not given or not gone:
            continue
        pairs = zip(
            json.loads(bytes(given))["instances"], json.loads(bytes(gone))["predictions"], strict=True
        )
        for at, (one, each) in enumerate(pairs):
            said = (version, one["age"], one["sex"], each["label"], each["probability"])
            found.append((idx, at, at_us, *said))
    return found


def test_a_frame_holds_what_was_recorded(url: str) -> None:
    """Every instance of every answered request, in the order of the ledger."""
    found = frame_of(url)

    assert len(found.frame) == ROWS
    assert rows_of(found) == recorded_rows(url)
    assert (found.size, found.erased) == (2 * ROWS + 2, 0)


def test_a_frame_can_be_a_part(url: str) -> None:
    """A version, a stretch of time, both ends of it included, and some of the features."""
    within = frame_of(url, version="1", from_us=NOON_US + 10, to_us=NOON_US + 50)
    narrow = frame_of(url, features=("sex",))

    mine = [row for row in recorded_rows(url) if row[3] == "1" and NOON_US + 10 <= row[2] <= NOON_US + 50]
    assert rows_of(within) == mine
    assert set(narrow.frame.features) == {"sex"}
    assert len(frame_of(url, from_us=NOON_US + 10_000_000).frame) == 0


def test_what_takes_too_long_or_too_much_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that would hold a door for minutes, or fill its memory, is answered at once: what to do instead."""
    monkeypatch.setattr(predicted, "MOST_UNMADE", 0)
    with pytest.raises(RequestRefused, match="still being put into columns"):
        frame_of(url)
    with writing(url) as ledger:
        make_blocks(ledger, url, 1)
    assert rows_of(frame_of(url)) == recorded_rows(url)

    monkeypatch.setattr(predicted, "MOST_BYTES", 100)
    with pytest.raises(RequestRefused, match="violation"):
        frame_of(url)


@pytest.mark.parametrize("gone", [["input"], ["output"], ["input", "output", "meta"], ["actor"]])
def test_what_was_erased_is_counted_and_not_shown(url: str, gone: list[str]) -> None:
    """A prediction of which input or output is gone is in no frame; one whose caller was forgotten still is."""
    reader = open_reader(url)
    try:
        with writing(url) as ledger:
            changing.change(
                ledger, reader, "erasure.add", erasing(reference="r-8") | {"fields": gone}, NOON_US + 99
            )
    finally:
        reader.dispose()
    found = frame_of(url)

    assert found.erased == (0 if gone == ["actor"] else 2)
    assert len(found.frame) == ROWS - found.erased
    assert rows_of(found) == recorded_rows(url)
    assert frame_of(url, version="2").erased == 0
