"""Columns hold what was said, no more and no less, in bytes that are the same for ever."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from db.columns import Answered, Reported, body, of, pack, unpack
from models.columns import Category, Chunk, frame
from tests.answering import Given, recorded

VALUES = {
    "whole": [3, 3, 260],
    "whole, far apart": [-(2**53), 2**53, 0],
    "times": [1_795_176_000_000_000, 1_795_176_000_000_001, 1_795_180_000_000_000],
    "numbers": [1.5, -0.0, 1e308],
    "numbers with a hole": [1, None, 0.1],
    "nothing": [None, None, None],
    "texts": ["a", None, "ü, \"'"],
}


def chunk(*pairs: tuple[Given, Given], idx: int = 0, version: str = "1", at_us: int = 5) -> Chunk:
    """Make the columns of one record."""
    record = recorded(*pairs, version=version)
    given = Answered(
        idx=idx,
        observed_at_us=at_us,
        model="income",
        version=version,
        input=record.input,
        output=record.output,
    )
    return Chunk(version, of([given])["income", version])


def seen(column: Any) -> list[Any]:
    """Write a column of a frame as plain values."""
    if isinstance(column, Category):
        return [None if code < 0 else column.names[code] for code in column.codes]
    return [None if math.isnan(each) else each for each in column.tolist()]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_a_feature_comes_back_as_it_was_sent(values: list[Any]) -> None:
    """Numbers bit by bit, texts to the letter, and what was not there is not there."""
    pairs = [({"x": value}, {"label": "a", "probability": 0.5}) for value in values]

    assert seen(frame([chunk(*pairs)]).features["x"]) == values


def test_values_of_one_key_are_told_apart() -> None:
    """True is not 1, although a dict takes the one for the other; as texts, 1 and "1" are written the same."""
    found = frame([chunk(*(({"x": value}, {"price": 1.0}) for value in (True, 1, "1", "true", None)))])

    assert seen(found.features["x"]) == ["true", "1", "1", "true", None]


def test_decimal_text_is_a_number_where_the_contract_says_so() -> None:
    """A feature that comes as a number here and as text there is one column of numbers."""
    chunks = [
        chunk(({"x": 1.5}, {"price": 1.0})),
        chunk(({"x": "-.75"}, {"price": 1.0}), ({}, {"price": 2.0}), idx=1),
    ]

    assert seen(frame(chunks, numeric={"x": True}).features["x"]) == [1.5, -0.75, None]


def test_a_feature_may_come_and_go_between_chunks() -> None:
    """Categories of different chunks are one list; a chunk without the feature has no values; one may be asked for."""
    answer = {"label": "a", "probability": 0.5}
    chunks = [chunk(({"x": "b"}, answer)), chunk(({}, answer), idx=1), chunk(({"x": "a"}, answer), idx=2)]
    found = frame(chunks, numeric={"x": False, "y": True})

    assert (seen(found.features["x"]), seen(found.features["y"])) == (["b", None, "a"], [None] * 3)


def test_answers_of_every_kind_are_read() -> None:
    """Two labels, several labels, and a number."""
    two = frame([chunk(({}, {"label": "a", "probability": 0.25, "warnings": [{}, {}]}))])
    several = frame([chunk(({}, {"label": "b", "probabilities": {"a": 0.25, "b": 0.75}}))])
    number = frame([chunk(({}, {"price": 24.9}))])

    assert (seen(two.label), seen(two.score), seen(two.warnings)) == (["a"], [0.25], [2.0])
    assert (seen(several.score), several.probabilities["a"].tolist()) == ([0.75], [0.25])
    assert (seen(number.label), seen(number.score), number.probabilities) == ([None], [24.9], {})


def test_rows_are_kept_within_their_times() -> None:
    """Both ends belong to the window; nothing at all is an empty frame with every column."""
    chunks = [chunk(({"x": at}, {"price": 1.0}), idx=at, at_us=at) for at in range(5)]

    assert seen(frame(chunks, within=(1, 3)).features["x"]) == [1.0, 2.0, 3.0]
    assert len(frame(chunks, within=(9, None))) == len(frame([])) == 0


def test_the_last_outcome_of_a_row_counts() -> None:
    """Corrections replace what was said before, in whatever order they are read; an erased one leaves nothing known."""
    chunks = [
        chunk(({}, {"label": "a", "probability": 0.5}), ({}, {"label": "b", "probability": 0.5}), idx=7)
    ]
    said = [
        (7, 1, 12, "a"),
        (7, 1, 14, "b"),
        (7, 1, 13, "a"),
        (8, 0, 11, "a"),
        (7, 0, 15, "a"),
        (7, 0, 16, None),
    ]
    reports = [
        Reported(
            idx=idx, observed_at_us=100 + idx, model="m", version="1", of_idx=of_idx, position=at, value=value
        )
        for of_idx, at, idx, value in said
    ]
    found = frame(chunks, [of(reports[:2])["m", "1"], of(reports[2:])["m", "1"]])

    assert (seen(found.outcome), found.outcome_at_us.tolist()) == ([None, "b"], [-1, 114])
    assert found.has_outcome.tolist() == [False, True]


@pytest.mark.parametrize("content", [bytes(9000), np.random.default_rng(1).bytes(900)], ids=["dull", "noisy"])
def test_packed_is_what_is_worth_it(content: bytes) -> None:
    """What compresses is compressed, what does not is not; both come back, and nothing else is taken for either."""
    packed = pack(content)

    assert unpack(packed) == content
    assert len(packed) <= len(content) + 1
    for broken in (b"", b"x" + packed[1:], b"z" + content):
        with pytest.raises(ValueError, match="is not"):
            unpack(broken)


def test_a_golden_body() -> None:
    """The same values give the same bytes in every release: what was stored can be compared for ever."""
    assert body([260, 258]).hex() == "42" + "0201000000000000" + "0200"
    assert body([1.5, None]).hex() == "64" + "000000000000f83f" + "000000000000f87f"
    assert body(["b", None, "a", "b"]).hex() == (
        "63" + "09000000" + b'["b","a"]'.hex() + "00000000" + "ffffffff" + "01000000" + "00000000"
    )
