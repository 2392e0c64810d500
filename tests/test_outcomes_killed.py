"""A crash in the middle of a report leaves all of its outcomes or none, whatever died and when."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from db.audit import audit
from db.engine import open_reader
from tests import auditor, sealed
from tests.ledgers import DATABASES, SEAL, fresh, predicted, writing
from tests.reporting_killed import outcomes
from tests.service import ROOT

MOMENTS = {"derived": 0, "renewed": 0, "committed": 4}
COUNTS = (
    "SELECT (SELECT count(*) FROM outcome), (SELECT count(*) FROM prediction WHERE outcome_idx IS NOT NULL),"
    " (SELECT count(*) FROM derived), (SELECT count(*) FROM record)"
)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", DATABASES)
def test_a_killed_report_is_whole_or_not_there(
    kind: str, moment: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Killed between their rows, before or after COMMIT: all or nothing, and it verifies."""
    url = fresh(kind, request, tmp_path)
    with writing(url) as ledger:
        ledger.append([predicted(("a", ">50K", 0.75), ("b", "<=50K", 0.25)) for _ in range(2)])

    killed = subprocess.run(
        [sys.executable, "-m", "tests.reporting_killed", url, moment], cwd=ROOT, check=False, timeout=120
    )

    done = MOMENTS[moment]
    assert killed.returncode == -signal.SIGKILL
    assert sealed.sql(url, COUNTS) == [(done, done, 5 if done else 0, 7 if done else 2)]
    with writing(url) as ledger:  # reported again, it is recorded
        ledger.append(outcomes(url))
    assert sealed.sql(url, COUNTS)[0][:2] == (4, 4)
    reader = open_reader(url)
    assert audit(reader, SEAL.signer.key(), mac_key=SEAL.mac_key).findings == ()
    reader.dispose()
    assert auditor.audit(url) == []
