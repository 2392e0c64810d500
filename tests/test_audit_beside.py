"""An audit beside a running service: it takes no lock, writes nothing, holds little, and says the same words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api.outside import NOT_ANCHORED, exit_code
from db import auditing_pool
from db.audit import How, audit
from db.auditing import Cause, Finding, Verdict
from db.engine import open_pen, open_reader
from db.ledger import Ledger
from tests.changing import change, erasing
from tests.ledgers import DATABASES, NOON_US, SEAL, fresh, predicted, writing
from tests.service import ROOT

KEY = SEAL.signer.key()
FEW, MANY = 4_000, 24_000
MEMORY = """
import sys
from db.audit import How, audit
from db.engine import open_reader
from db.notes import VerifierKey

verdict = audit(open_reader(sys.argv[1], 600), VerifierKey.parse(sys.argv[2]), how=How(processes=1))
assert not verdict.findings, verdict.findings
status = open("/proc/self/status").read()  # unlike ru_maxrss, it forgets who started this process
print(status.partition("VmHWM:")[2].split()[0])
"""
VERDICT = {  # programs read these: new names may come, none may go or change its meaning
    "origin", "key_id", "size", "since", "root", "records", "payloads", "predictions", "erased", "notes", "signed",
    "anchored", "anchors", "is_mac_checked", "findings", "found",
}  # fmt: skip
CAUSES = {
    "order", "leaf", "column", "payload", "commitment", "prediction", "root", "head", "note", "tile", "anchor",
    "erasure", "schema", "file", "state",
}  # fmt: skip


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty ledger."""
    return fresh(request.param, request, tmp_path)


def fill(url: str, count: int) -> None:
    """Append so many predictions, each with a reference."""
    with writing(url, 60.0) as ledger:
        for start in range(0, count, 500):
            ledger.append([predicted((f"r-{number}", "a", 0.5)) for number in range(start, start + 500)])


def verdict_of(url: str, how: How) -> Verdict:
    """Audit with the pinned key."""
    reader = open_reader(url, 600.0)
    try:
        return audit(reader, KEY, mac_key=SEAL.mac_key, how=how)
    finally:
        reader.dispose()


@contextmanager
def busy(url: str) -> Iterator[list[int]]:
    """Keep writing, erasing and signing checkpoints for the length of a block; list how many records were appended."""
    appended: list[int] = []
    over = threading.Event()

    def work() -> None:
        pen, reader = open_pen(url, 60.0), open_reader(url)
        ledger = Ledger(pen, SEAL, 60.0)
        while not over.is_set():
            number = len(appended)
            ledger.append([predicted((f"new-{number}", "a", 0.5))])
            asked = erasing(reference=f"r-{number * 7 % FEW}")
            change(ledger, reader, "erasure.add", asked, NOON_US + number)
            ledger.note()
            appended.append(number)
        reader.dispose()
        pen.dispose()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield appended
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_service_that_writes_and_erases_is_found_sound(
    url: str, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V3: whatever is erased while ranges are read, here or in other processes, nothing is called tampered with."""
    fill(url, FEW)
    monkeypatch.setattr(auditing_pool, "RANGE", 256)
    monkeypatch.setattr(auditing_pool, "_SMALL", 0)
    with busy(url) as appended:
        deadline = time.monotonic() + 120
        while len(appended) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        verdicts = [verdict_of(url, How(processes=processes)) for _ in range(3)]
        during = len(appended)

    assert [each.findings for each in verdicts] == [(), (), ()]
    assert verdicts[0].size < verdicts[-1].size
    assert verdicts[-1].erased > 0
    assert during > 3


def test_records_are_read_in_the_moment_of_the_audit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """V3: what is lost before a connection for records is there, or between two ranges, is not missed."""
    fill(url, 500)
    pen, reader, beside = open_pen(url, 60.0), open_reader(url), auditing_pool._beside

    def lose(reference: str) -> None:
        everything = {"fields": ["input", "output", "actor", "meta"]}
        asked = erasing(reference=reference) | everything
        change(Ledger(pen, SEAL, 60.0), reader, "erasure.add", asked, NOON_US)

    def late(*given: Any) -> Any:
        lose("r-10")
        return beside(*given)

    monkeypatch.setattr(auditing_pool, "_beside", late)
    monkeypatch.setattr(auditing_pool, "RANGE", 256)
    verdict = verdict_of(url, How(progress=lambda done, _: lose("r-400") if done == 256 else None))
    pen.dispose()
    reader.dispose()

    assert (verdict.findings, verdict.size, verdict.payloads) == ((), 500, 500)


def test_an_audit_neither_waits_for_the_pen_nor_holds_it_up(url: str) -> None:
    """V3: with an append open and its lock held, the audit ends; in the middle of an audit, appends end."""
    fill(url, 500)
    pen = open_pen(url, 60.0)
    appended: list[object] = []
    with pen.connect() as held:
        held.begin()
        held.execute(text("UPDATE head SET epoch = epoch WHERE id = 1"))
        assert exit_code(verdict_of(url, How())) == NOT_ANCHORED
        held.rollback()
    ledger = Ledger(pen, SEAL, 60.0)
    how = How(progress=lambda _done, _size: appended.append(ledger.append([predicted()])))
    verdict = verdict_of(url, how)
    pen.dispose()

    assert (verdict.findings, verdict.size) == ((), 500)
    assert appended


def test_an_audit_cannot_write(url: str) -> None:
    """V3: its connections are read-only, so that a standby and a role without rights will do."""
    reader = open_reader(url)
    with reader.connect() as connection, pytest.raises(DBAPIError):
        connection.execute(text("DELETE FROM note"))
    reader.dispose()


def test_six_times_the_records_take_no_more_memory(url: str) -> None:
    """V2: what an audit holds does not grow with the ledger."""
    fill(url, FEW)
    few = _held(url)
    fill(url, MANY - FEW)
    many = _held(url)

    assert many - few < 8 * 1024, (few, many)  # KiB; the payloads of these records alone would be more


def _held(url: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, url, str(KEY)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_words_of_the_verdict_stay(url: str) -> None:
    """V6: what programs read off the JSON has the names it always had."""
    said = asdict(verdict_of(url, How()))
    said["root"] = said["root"].hex()

    assert set(said) >= VERDICT
    assert {each.value for each in Cause} >= CAUSES
    assert set(asdict(Finding(at=None, cause=Cause.HEAD, detail=""))) == {"at", "cause", "detail"}
    assert json.loads(json.dumps(said))["records"] == 0
