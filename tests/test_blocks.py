"""Blocks change nothing but how long it takes, hold nothing that was erased, and are believed by no audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from db import blocks, packing, spans
from db.auditing import Cause
from db.columns import pack, unpack
from db.engine import open_reader
from tests import auditor, changing, sealed
from tests.answering import recorded
from tests.blocking import make_blocks
from tests.changing import erasing
from tests.engines import engine_in_thread, wait_for
from tests.ledgers import DATABASES, NOON_US, changed, fresh, writing
from tests.tampering import Copies
from tests.test_frames import frame_of, recorded_rows, rows_of

pytest_plugins = ("tests.deployments",)
RECORDS, SPAN = 150, 16
SUBJECT = "zq-subject-7f3a"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Write predictions among other records, and in the end audit what became of them."""
    url = fresh(request.param, request, tmp_path)
    with writing(url) as ledger:
        for start in range(0, RECORDS, 50):
            ledger.append([_record(number) for number in range(start, start + 50)])
    yield url
    assert auditor.audit(url) == []


def _record(number: int) -> Any:
    if number % 7 == 0:
        return changed(at_us=NOON_US + number)
    pairs = [
        (
            {
                "age": number + at,
                "sex": SUBJECT if number == 40 else "fm"[at % 2],
                "reference": f"r-{number}",
            },
            {"label": "ab"[at % 2], "probability": at / 8},
        )
        for at in range(1 + number % 4)
    ]
    return recorded(*pairs, at_us=NOON_US + number, version=str(1 + number % 2))


def _erase(url: str, reference: str) -> None:
    reader = open_reader(url)
    try:
        with writing(url) as ledger:
            changing.change(ledger, reader, "erasure.add", erasing(reference=reference), NOON_US + 900)
    finally:
        reader.dispose()


def _stored(url: str) -> list[tuple[int, str, bytes]]:
    rows = sealed.sql(url, "SELECT start, name, content FROM block WHERE name <> '' ORDER BY start, name")
    return [(start, name, unpack(bytes(content))) for start, name, content in rows]


def test_blocks_change_nothing_that_is_read(url: str) -> None:
    """Without blocks, with some, with all that can be and with a hole among them: the same frame, to the last row."""
    expected = recorded_rows(url)
    assert rows_of(frame_of(url)) == expected
    with writing(url) as ledger:
        assert make_blocks(ledger, url, SPAN, at_most=3) == 3
        assert rows_of(frame_of(url)) == expected
        make_blocks(ledger, url, SPAN)
        assert len(sealed.sql(url, "SELECT * FROM block WHERE name = ''")) == RECORDS // SPAN
        assert rows_of(frame_of(url)) == expected
        assert make_blocks(ledger, url, SPAN) == 0
        sealed.sql(url, f"DELETE FROM block WHERE start = {2 * SPAN}")
        assert rows_of(frame_of(url)) == expected

    within = rows_of(frame_of(url, version="2", from_us=NOON_US + 20, to_us=NOON_US + 70))
    assert within == [row for row in expected if row[3] == "2" and NOON_US + 20 <= row[2] <= NOON_US + 70]


def test_an_erasure_takes_its_blocks_along(url: str) -> None:
    """What was erased is in no column any more; other spans keep theirs, and what is made again lacks it, too."""
    with writing(url) as ledger:
        make_blocks(ledger, url, SPAN)
    assert any(SUBJECT.encode() in content for _, _, content in _stored(url))
    before = {start for start, *_ in _stored(url)}

    _erase(url, "r-40")
    _erase(url, "r-43")
    sealed_spans = {start for start, *_ in _stored(url)}
    assert before - sealed_spans == {40 // SPAN * SPAN}
    assert not any(SUBJECT.encode() in content for _, _, content in _stored(url))
    assert rows_of(frame_of(url)) == recorded_rows(url)

    with writing(url) as ledger:
        make_blocks(ledger, url, SPAN)
    assert {start for start, *_ in _stored(url)} >= before
    assert rows_of(frame_of(url)) == recorded_rows(url)
    assert frame_of(url).erased == 1 + 4


def test_an_erasure_overtakes_whoever_makes_blocks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that were read before an erasure are not stored after it; nor are any twice."""
    monkeypatch.setattr(spans, "RECORDS", SPAN)
    reader = open_reader(url)
    try:
        early = blocks.unmade(reader)
        assert early is not None
        _erase(url, "r-3")
        packed = packing.said(packing.packed(packing.asked(early.records)))
        late = blocks.unmade(reader)
        assert late is not None
        with writing(url) as ledger:
            assert not ledger.beside(lambda pen: blocks.put(pen, early, packed))
            assert sealed.sql(url, "SELECT * FROM block") == []
            assert ledger.beside(lambda pen: blocks.put(pen, late, {}))
            assert not ledger.beside(lambda pen: blocks.put(pen, late, {}))
    finally:
        reader.dispose()
        sealed.sql(url, "DELETE FROM block")


def test_a_span_ends_where_it_has_enough_rows(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may hold thousands of instances: a span is full by rows, too, and is the same after an erasure."""
    monkeypatch.setattr(spans, "ROWS", 5)
    with writing(url) as ledger:
        make_blocks(ledger, url, SPAN)
        cut = sealed.sql(url, "SELECT start, stop FROM block WHERE name = '' ORDER BY start")
        counts = [
            sealed.sql(url, f"SELECT count(*) FROM prediction WHERE idx >= {start} AND idx < {stop}")[0][0]
            for start, stop in cut
        ]
        sealed.sql(url, "DELETE FROM block")
        make_blocks(ledger, url, SPAN)

    assert cut == sealed.sql(url, "SELECT start, stop FROM block WHERE name = '' ORDER BY start")
    assert max(counts) <= 5 + 3
    assert rows_of(frame_of(url)) == recorded_rows(url)


_AT = "start = 64"
_COPIED = "INSERT INTO block (model, name, start, version, stop, content) SELECT"
TAMPERED: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "a column is missing": (64, (f"DELETE FROM block WHERE {_AT} AND name = 'score'",)),
    "a column is added": (
        64,
        (f"{_COPIED} model, 'x', start, version, stop, content FROM block WHERE {_AT} AND name = 'at'",),
    ),
    "columns are those of another span": (
        128,
        (
            "DELETE FROM block WHERE start = 128 AND name <> ''",
            f"{_COPIED} model, name, 128, version, 192, content FROM block WHERE {_AT} AND name <> ''",
        ),
    ),
    "a span is said to go on": (64, (f"UPDATE block SET stop = 200 WHERE {_AT}",)),
    "columns lie beyond the ledger": (
        None,
        (f"UPDATE block SET start = start + 9000, stop = stop + 9000 WHERE {_AT}",),
    ),
    "columns without a span": (64, (f"DELETE FROM block WHERE {_AT} AND name = ''",)),
}


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("name", TAMPERED)
def test_changed_blocks_are_found_and_named(copies: Copies, kind: str, name: str) -> None:
    """Whatever is done to what metrics are computed from, an audit says in which span."""
    rigged = copies.new(kind)
    at, statements = TAMPERED[name]
    rigged.run(*statements)

    findings = rigged.audit().findings
    assert {each.cause for each in findings} == {Cause.BLOCK}
    assert findings[0].at == at


def test_the_same_values_packed_anew_are_no_finding(copies: Copies) -> None:
    """What compression made of a column may differ between libraries; what it says may not."""
    rigged = copies.new("sqlite")
    query = "SELECT start, name, content FROM block WHERE name = 'at' AND start = 64"
    start, name, content = rigged.run(query)[0]
    plain = b"p" + unpack(content)
    assert plain != content or pack(unpack(content)) == content
    rigged.run(("UPDATE block SET content = ? WHERE start = ? AND name = ?", [plain, start, name]))

    assert rigged.audit().findings == ()


def test_the_engine_makes_blocks_by_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was predicted lies in blocks some seconds later; nobody asked for them."""
    monkeypatch.setattr(spans, "RECORDS", 4)
    monkeypatch.setattr("api.engine.blocks.LOOK_S", 0.05)
    with engine_in_thread(settings) as door:
        for age in range(9):
            assert door.predict("housing", {"age": 20 + age}).status == 201
        query = "SELECT count(*) FROM block WHERE name = 'feature:age'"
        wait_for(lambda: sealed.sql(settings.database_url, query)[0][0] >= 2, within_s=60)

    assert auditor.audit(settings.database_url) == []
