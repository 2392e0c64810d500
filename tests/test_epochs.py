"""Restored backups: nothing is served until their loss is declared, and two histories are never taken for one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.anchoring import AnchorFile, AnchorRefused, read_anchor
from api.commands.declaring import declare
from api.refusals import CommandRefused
from db import epochs, sqlite
from db.engine import open_pen
from db.ledger import Ledger
from db.notes import Checkpoint, NoteRefused, VerifierKey, sign
from db.sealing import LedgerForked
from db.submissions import Submission, stated
from db.witness import UnknownLog, Witness
from tests import auditor
from tests.backups import Backups
from tests.engines import settings_of
from tests.ledgers import SEAL, predicted
from tests.service import Caller, Service
from tests.tampering import KEY, WITNESS

pytest_plugins = ("tests.deployments",)
AGE = {"age": 50}


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """Set up a deployment that is started and stopped, and whose backups are restored."""
    url = request.getfixturevalue("postgres").new_database() if request.param == "postgresql" else None
    folder = short_folder / f"e{time.monotonic_ns() % 1_000_000}"
    folder.mkdir()
    made = Service(folder, url).set_up()
    yield made
    made.kill()


def held(service: Service, folder: Path, name: str) -> list[str]:
    """Predict, and keep what a caller keeps; return the arguments that check it offline."""
    with service.caller() as caller:
        answer = caller.predict("housing", AGE)
        seen = folder / f"{name}.headers"
        seen.write_text("".join(f"{key}: {value}\n" for key, value in answer.headers.items()))
        (folder / f"{name}.json").write_bytes(answer.content)
    return [
        "receipt",
        str(seen),
        "--key",
        str(service.var / "ledger.pub"),
        "--output",
        str(folder / f"{name}.json"),
    ]


def size_of(service: Service) -> int:
    return int(json.loads(service.command("verify", "--json", check=False).stdout)["size"])


def test_a_restored_backup_is_declared_before_it_is_served(
    service: Service, backups: Backups, tmp_path: Path
) -> None:
    """T17, C17: refused with the cure, declared, served; the old receipts prove the loss, the pinned key stays."""
    kept = size_of(service)
    backup = backups.take(service.database_url)
    service.start()
    lost = held(service, tmp_path, "lost")
    assert service.stop() == 0
    known = size_of(service)
    backups.restore(backup, service.database_url)
    backup = backups.take(service.database_url)

    refused = service.command("engine", check=False)
    undeclared = service.command("verify", check=False)
    declared = service.command("epoch", "--reason", "the disk of host 7 broke")
    service.start()
    new = held(service, tmp_path, "new")
    health = _ready(service)
    assert service.stop() == 0
    verified = service.command("verify", check=False)
    again = service.command("epoch", "--reason", "again", check=False)
    pinned = (service.var / "ledger.pub").read_text()
    (service.var / "ledger.pub").unlink()
    service.command("setup")

    assert (service.var / "ledger.pub").read_text() == pinned
    assert (refused.returncode, 'python -m api epoch --reason "…"' in refused.stderr) == (2, True), refused
    assert undeclared.returncode == 1
    assert f"epoch 1 begins with record {kept}" in declared.stdout
    assert f"records {kept} to {known - 1} of epoch 0" in declared.stdout
    assert health["ready"] is True
    assert verified.returncode == 0, verified.stdout
    assert f"LOST        records {kept} to {known - 1} with epoch 1, declared by" in verified.stdout
    assert "reason: the disk of host 7 broke" in verified.stdout
    assert (again.returncode, "nothing to declare" in again.stderr) == (2, True)
    _both_receipts_hold(service, lost, new)
    assert auditor.audit(service.database_url) == []

    backups.restore(backup, service.database_url)
    _a_backup_from_before_an_epoch_begins_another(service)


def _both_receipts_hold(service: Service, lost: list[str], new: list[str]) -> None:
    evidence, fresh = service.command(*lost), service.command(*new)

    assert (
        "epoch  " not in evidence.stdout
    )  # of a record that is gone: what its caller holds is proof that it was
    assert "#1 with the pinned key" in fresh.stdout
    assert "epoch       1 of onrecord.local/" in fresh.stdout


def _a_backup_from_before_an_epoch_begins_another(service: Service) -> None:
    refused = service.command("engine", check=False)
    undeclared = service.command("verify", check=False)
    declared = service.command("epoch", "--reason", "again")
    verified = service.command("verify", check=False)

    assert "knows epoch 1, and the database is still in epoch 0" in refused.stderr
    assert (undeclared.returncode, "is of epoch 1, and the ledger is in 0" in undeclared.stdout) == (1, True)
    assert "epoch 2 begins with record" in declared.stdout
    assert (verified.returncode, "LOST        records" in verified.stdout) == (0, True), verified.stdout
    assert auditor.audit(service.database_url) == []


def _ready(service: Service) -> dict[str, Any]:
    with service.caller() as caller:
        return dict(_json(caller, "/health/ready"))


def _json(caller: Caller, path: str) -> dict[str, Any]:
    return dict(caller.http.get(path).json())


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_declaration_that_dies_is_made_or_is_not(var: Path, backups: Backups, is_kept: bool) -> None:
    """C14: killed around its commit, the ledger is in the new epoch with its record, or in the old one without."""
    settings = settings_of(var)
    backup = backups.take(settings.database_url)
    _append(var, 3)
    backups.restore(backup, settings.database_url)
    child = os.fork()
    if not child:  # pragma: no cover  # dies inside
        _die_at_commit(var, is_kept=is_kept)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    if is_kept:
        with pytest.raises(CommandRefused, match="nothing to declare"):
            declare(settings, "again", [])
    else:
        assert declare(settings, "again", []).lost == 3
    _append(var, 1)
    assert auditor.audit(settings.database_url) == []


def _append(var: Path, count: int) -> None:
    from api.engine.opening import opened

    with opened(settings_of(var)) as ledger:
        ledger.append([predicted() for _ in range(count)])
        ledger.note()


def _die_at_commit(var: Path, *, is_kept: bool) -> None:
    commits = 0

    def die(connection: Any) -> None:
        nonlocal commits
        commits += 1
        if commits > 1 and not is_kept:  # the first one only looks at the head
            os.kill(os.getpid(), signal.SIGKILL)
        super(sqlite._Pen, connection).commit()
        if commits > 1:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sqlite._Pen.commit = die  # type: ignore[method-assign]  # this process ends there
        declare(settings_of(var), "dies", [])
    finally:
        os._exit(1)


def test_another_history_is_not_declared(var: Path, backups: Backups) -> None:
    """An epoch is for older states of this ledger: what contradicts an older anchor is refused, and stays evidence."""
    settings = settings_of(var)
    backup = backups.take(settings.database_url)
    _append(var, 1)
    _append(var, 5)
    backups.restore(backup, settings.database_url)
    anchor = settings.anchor.read_bytes()
    settings.anchor.unlink()
    _append(var, 3)
    settings.anchor.write_bytes(anchor)

    with pytest.raises(CommandRefused, match="no older state"):
        declare(settings, "pretend", [])


def test_a_process_of_an_older_epoch_appends_nothing(var: Path, backups: Backups) -> None:
    """An engine on another host that was running before the declaration is stopped by the head itself."""
    from api.engine import seals

    settings = settings_of(var)
    backup = backups.take(settings.database_url)
    _append(var, 3)
    backups.restore(backup, settings.database_url)
    declare(settings, "restored", [])
    pen = open_pen(settings.database_url)
    with pytest.raises(LedgerForked, match="of epoch 1, and this process knows 0: start it again"):
        Ledger(pen, seals.read(var)).append([predicted()])
    pen.dispose()


def test_a_witness_has_to_be_told_of_an_epoch(var: Path, backups: Backups, tmp_path: Path) -> None:
    """To a witness it is another log: unknown until it is given the key, and kept beside the old history."""
    settings = settings_of(var)
    backup = backups.take(settings.database_url)
    pinned = VerifierKey.parse((var / "ledger.pub").read_text().strip())
    _append(var, 3)
    old = Submission(old=0, hashes=(), note=read_anchor(settings.anchor)[-1])
    backups.restore(backup, settings.database_url)
    key = declare(settings, "restored", []).key
    new = Submission(old=0, hashes=(), note=read_anchor(settings.anchor)[-1])
    for keys, is_known in (([pinned], False), ([pinned, key], True)):
        witness = Witness(tmp_path / "witness.db", WITNESS, keys, lambda: 1)
        if is_known:
            assert witness.add(new.encode())
        else:
            witness.add(old.encode())
            with pytest.raises(UnknownLog):
                witness.add(new.encode())
        assert stated(witness.seen(pinned.name)) == stated(old.note)
        witness.close()


@pytest.mark.parametrize(
    "origin",
    ["#0", "#01", "#", "#1#2", "#-1", "x#1", "#2147483648", "#9999999999", "/1", " #1"],
)
def test_only_epochs_of_the_pinned_ledger_are_its_own(origin: str) -> None:
    """Names that only look like an epoch are another ledger's."""
    with pytest.raises(NoteRefused):
        epochs.epoch_of(KEY.name + origin, KEY)


@pytest.mark.parametrize("epoch", [0, 1, 7, 2**31 - 1])
def test_an_epoch_is_opened_with_the_pinned_key_and_no_other(epoch: int) -> None:
    """What the key has signed in another epoch opens only where epochs are asked for; a stranger's never does."""
    signer = replace(SEAL.signer, name=epochs.name_of(KEY.name, epoch))
    note = sign(Checkpoint(origin=signer.name, size=3, root=bytes(32)).text(), signer)

    assert epochs.open_any(note, KEY)[0] == epoch
    assert VerifierKey.parse(str(epochs.key_of(KEY, epoch))) == epochs.key_of(KEY, epoch)
    with pytest.raises(NoteRefused):
        epochs.open_any(note, replace(KEY, public=bytes(32)))


def test_an_anchor_of_a_later_epoch_stops_the_start(tmp_path: Path) -> None:
    """A database that does not know of an epoch is older than it, whatever its size."""
    signer = replace(SEAL.signer, name=epochs.name_of(KEY.name, 2))
    anchor = AnchorFile(tmp_path / "anchor.log")
    anchor.append(sign(Checkpoint(origin=signer.name, size=3, root=bytes(32)).text(), signer))

    with pytest.raises(AnchorRefused, match="knows epoch 2, and the database is still in epoch 1"):
        anchor.check(None, KEY, 1)
    anchor.check(None, KEY, 3)
