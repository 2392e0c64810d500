"""An erasure that does not come to its end has erased nothing, and one that came to it is on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db import heads
from db.engine import open_reader
from db.ledger import LedgerUnavailable
from tests import auditor, changing, sealed
from tests.ledgers import DATABASES, NOON_US, fresh, predicted, writing

PAYLOADS = "SELECT input, output, secret FROM payload ORDER BY record_id"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger, whole in the end."""
    url = fresh(request.param, request, tmp_path)
    yield url
    assert auditor.audit(url) == []


@pytest.mark.parametrize("moment", ["before its record is sealed", "in its commit"])
def test_an_erasure_that_is_cut_off_erases_all_or_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """C13: what was to be erased is there until the record of the erasure is, and gone from then on."""
    records = [predicted() for _ in range(3)]
    reader = open_reader(url)
    with writing(url) as ledger:
        ledger.append(records)
        before = sealed.sql(url, PAYLOADS)
        asked = changing.erasing(record=str(records[1].id))
        with monkeypatch.context() as patch:
            if moment == "before its record is sealed":
                patch.setattr(heads, "advance", lambda *_: None)
            else:
                sealed.on_commit(patch, url, sealed.fail_instead)
            with pytest.raises(LedgerUnavailable):
                changing.change(ledger, reader, "erasure.add", asked, NOON_US + 1)
        assert sealed.sql(url, PAYLOADS) == before

        sealed.on_commit(monkeypatch, url, sealed.fail_after)
        changing.change(ledger, reader, "erasure.add", asked, NOON_US + 1)
    reader.dispose()
    assert len(sealed.leaves_of(url)) == 4
    assert sealed.sql(url, "SELECT count(*) FROM erased") == [(1,)]
