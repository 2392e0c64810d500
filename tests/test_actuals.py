"""Predicted and actual numbers, in groups: no row is left out, none can be told, and all places show the same."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.plots import ink
from models.actuals import MOST, grouped
from models.intervals import LEAST
from tests.service import Caller


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.integers(1, 80), st.integers(0, 2**32))
def test_groups_hold_every_row_and_tell_of_none(count: int, different: int, seed: int) -> None:
    """At most 20 groups of ten rows at least, equal answers in one, each with the figures of exactly its rows."""
    chance = np.random.default_rng(seed)
    said = chance.choice(chance.normal(0, 1e6, different), count)
    was = said + chance.normal(0, 3, count)
    found = grouped(said, was)
    if len(said) < LEAST:
        assert found is None
        return
    assert found is not None
    assert 1 <= len(found.counts) <= MOST
    assert min(found.counts) >= LEAST
    assert sum(found.counts) == len(said)
    order = np.argsort(said, kind="stable")
    begin = 0
    for place, count in enumerate(found.counts):
        rows = order[begin : begin + count]
        begin += count
        assert not set(said[rows]) & set(said[order[begin:]])
        assert found.predicted[place] == pytest.approx(np.mean(said[rows]))
        assert found.actual[place] == pytest.approx(np.mean(was[rows]))
        middle = (found.actual_low[place], found.actual_high[place])
        assert middle == pytest.approx(tuple(np.percentile(was[rows], (25, 75))))
        off = (found.error_low[place], found.error_high[place])
        assert off == pytest.approx(tuple(np.percentile(said[rows] - was[rows], (25, 75))))


def test_as_many_groups_as_there_can_be() -> None:
    """A hundred different answers make ten groups of ten; ten thousand make twenty of five hundred."""
    for count, groups in ((100, 10), (10_000, 20)):
        found = grouped(np.arange(count, dtype=float), np.zeros(count))
        assert found is not None
        assert found.counts == (count // groups,) * groups


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_a_price_that_was_paid_stands_beside_the_one_that_was_said(demo: Caller) -> None:
    """What was predicted and reported by request is put into groups, beside the version's own; both are drawn."""
    mark = uuid.uuid4().hex
    begin = demo.predict("housing", *({"age": age, "reference": f"{mark} {age}"} for age in range(40)))
    prices = [each["price"] for each in begin.json()["predictions"]]
    rows = [{"prediction": each["id"], "value": each["price"] - 2} for each in begin.json()["predictions"]]
    assert demo.http.post("/v1/outcomes", json={"outcomes": rows}).status_code < 300
    since = demo.http.get(f"/v1/predictions/{rows[0]['prediction']}").json()["at"]
    address, window = "/v1/models/housing/performance", {"from": since, "version": "1"}

    found = demo.http.get(address, params=window).json()
    version = demo.http.get("/v1/models/housing/versions/1").json()

    assert [each["n"] for each in found["actuals"]] == [10] * 4
    assert found["actuals"][0]["predicted"] == pytest.approx(np.mean(sorted(prices)[:10]))
    for each in found["actuals"]:
        off = (each["predicted"] - each["actual"], each["error_low"], each["error_high"])
        assert off == pytest.approx((2, 2, 2))
    assert sum(each["n"] for each in version["actuals"]) == version["data"]["test_rows"]
    assert found["at_training"] == {"actuals": version["actuals"]}
    for plot in ("actuals", "residuals"):
        picture = demo.http.get(address, params={**window, "plot": plot}, headers={"Accept": ink.MEDIA_TYPE})
        assert "In use: off by 2 on average; held out of training: off by" in picture.text
