"""A crash in the middle of an erasure leaves all of it or nothing, whatever died and when (C13)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from db.audit import audit
from db.engine import open_reader
from db.lookups import Lookups
from tests import auditor, changing
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, SEAL, fresh, predicted, writing
from tests.service import ROOT

# Where the process that erases is killed, and whether the erasure has happened then.
MOMENTS = {"before": False, "between": False, "deleted": False, "committed": True}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", DATABASES)
def test_a_killed_erasure_is_whole_or_not_there(
    kind: str, moment: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Killed before the record, behind it, before or after COMMIT: both or neither, and it verifies."""
    url = fresh(kind, request, tmp_path)
    records = [predicted(("s-1", ">50K", 0.75)) for _ in range(5)]
    with writing(url) as ledger:
        ledger.append(records)

    killed = subprocess.run(
        [sys.executable, "-m", "tests.erasing_killed", url, moment], cwd=ROOT, check=False, timeout=120
    )

    assert killed.returncode == -signal.SIGKILL
    reader = open_reader(url)
    gone = [Lookups(reader).record(each.id).input is None for each in records]
    assert gone == [MOMENTS[moment]] * 5
    assert audit(reader, SEAL.signer.key(), mac_key=SEAL.mac_key).findings == ()
    assert auditor.audit(url) == []
    with writing(url) as ledger:  # run again, it does the rest
        done = changing.change(ledger, reader, "erasure.add", erasing(reference="s-1"), NOON_US + 2)
    reader.dispose()
    assert done.result["records"] == (0 if MOMENTS[moment] else 5)
    assert auditor.audit(url) == []
