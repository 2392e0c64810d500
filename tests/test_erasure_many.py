"""Erasing very many records: batch by batch, each counted once, each accounted for."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from db.audit import audit
from db.engine import open_reader
from db.erased import RecordErased
from db.proofs import Proofs
from tests import changing, sealed
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, SEAL, fresh, predicted, writing


@pytest.mark.parametrize("kind", DATABASES)
def test_ten_thousand_records_of_one_subject(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """E1: batch by batch all of them go, each is counted once, and every receipt that was kept still holds."""
    url = fresh(kind, request, tmp_path)
    reader = open_reader(url)
    records = [predicted(("s-1", ">50K", 0.75)) for _ in range(10_000)]
    with writing(url) as ledger:
        appended = [ledger.append(records[at : at + 500]) for at in range(0, len(records), 500)]
        counts, asked, started = [], erasing(reference="s-1"), time.monotonic()
        while not counts or asked.get("after") is not None:
            done = changing.change(ledger, reader, "erasure.add", asked, NOON_US + 1 + len(counts))
            counts.append(done.result["records"])
            asked["after"] = done.result.get("next")
        sys.stdout.write(f"\n  {kind}: 10,000 records erased in {time.monotonic() - started:.1f} s")
        ledger.note()

    assert (sum(counts), max(counts)) == (10_000, 200)
    sealed.check(appended[7], records[3500:4000])
    verdict = audit(reader, SEAL.signer.key(), mac_key=SEAL.mac_key)
    assert (verdict.findings, verdict.erased) == ((), 10_000)
    for record in records[::1000]:
        with pytest.raises(RecordErased):
            Proofs(reader).receipt(record.id)
    reader.dispose()
