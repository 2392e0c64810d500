"""A version is registered, promoted and returned to only after it has loaded and answered in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api.engine import changes
from api.engine.loading import Loading
from api.engine.plans import Change, ChangeRefused, Plan, Sources
from api.engine.roster import Table
from db.versions import Alias
from models import proving, registry
from tests.artefacts import MODEL, Shelf, crashing, hanging, line, of_objects, undefined
from tests.engines import settings_of
from tests.service import ROOT


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Make a store of our own, with housing version 1 in it."""
    return Shelf(tmp_path / "store")


def plan(shelf: Shelf, name: str, version: str, table: Table | None = None) -> Plan:
    """Plan a change of a version as engine and command do, and let its process rest."""
    change = Change(name=name, args={"model": MODEL, "version": version}, actor={"client_id": "me"}, now_us=1)
    loading = Loading(settings_of(shelf.store.parent, ONRECORD_STORE=str(shelf.store)))
    try:
        sources = Sources(table=table or Table(), loading=loading, reader=None, hold_key=b"")
        return changes.plan(change, sources)
    finally:
        loading.rest()


def refused_change(shelf: Shelf, name: str, version: str, table: Table | None = None) -> str:
    """Say why a change of a version is not made."""
    with pytest.raises(ChangeRefused) as refused:
        plan(shelf, name, version, table)
    return refused.value.detail


def test_registering_binds_both_files(shelf: Shelf) -> None:
    """The recorded result of a registration holds the digests of pickle and manifest as they are in the store."""
    planned = plan(shelf, "model.register", "1")
    found = shelf.registered()

    assert planned.result == {
        "model": MODEL, "version": "1", "digest": found.digest, "manifest": found.manifest
    }  # fmt: skip
    assert planned.apply is not None


def test_a_version_from_before_manifests_is_bound_by_registering_it_again(shelf: Shelf) -> None:
    """It does not load until then, and its refusal is the command that helps; afterwards nothing is left to do."""
    found = shelf.registered()
    old = replace(found, manifest=None)
    loading = Loading(settings_of(shelf.store.parent, ONRECORD_STORE=str(shelf.store)))
    with pytest.raises(registry.ModelRefused, match="python -m api model register housing 1"):
        loading.load(old)

    unbound = Table(versions={(MODEL, "1"): old})
    assert "model register housing 1" in refused_change(shelf, "model.promote", "1", unbound)
    assert plan(shelf, "model.register", "1", unbound).apply is not None
    assert plan(shelf, "model.register", "1", Table(versions={(MODEL, "1"): found})).apply is None


def test_a_version_that_was_changed_is_not_registered_again(shelf: Shelf) -> None:
    """Registering a version whose manifest is another one by now is refused with the digests that were registered."""
    table = Table(versions={(MODEL, "1"): replace(shelf.registered(), manifest="ab" * 32)})

    assert "ab" * 32 in refused_change(shelf, "model.register", "1", table)


@pytest.mark.parametrize(
    ("estimator", "golden", "reason"),
    [
        (crashing, [(1.0, 24.0)], "was ended by SIGSEGV; nothing else was harmed"),
        (undefined, [(50.0, 20.0)], "predict gave a number that is not finite"),
        (of_objects, [(0.0, 30.0)], "predict gave the type object"),
        (line, [(0.0, 31.0)], "golden instance 0 is not answered as in training"),
    ],
)
def test_a_version_is_tried_out_before_it_is_registered(
    shelf: Shelf, estimator: Callable[[], object], golden: list[tuple[float, float]], reason: str
) -> None:
    """Whatever a version does to who loads it, it does elsewhere: here it is an answer with the reason in it."""
    shelf.put_estimator("2", estimator(), golden)

    detail = refused_change(shelf, "model.register", "2")
    assert "version 2 is not registered" in detail
    assert reason in detail


def test_a_version_is_tried_out_before_it_is_promoted_or_returned_to(shelf: Shelf) -> None:
    """A registered version that is another one by now takes no alias, neither by promotion nor by rollback."""
    found = shelf.registered()
    (shelf.folder() / "model.pkl").write_bytes(b"\x80\x05N.")
    alias = Alias(model=MODEL, alias="champion", version="2", previous="1", changed_at_us=1)
    table = Table(versions={(MODEL, "1"): found}, aliases={(MODEL, "champion"): alias})

    for name, verb in (("model.promote", "promoted"), ("model.rollback", "returned to")):
        detail = refused_change(shelf, name, "1", table)
        assert f"version 1 is not {verb}" in detail
        assert f"registered is {found.digest}" in detail


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("PROCESSOR_S", "used more than 1 s of processor time"), ("WITHIN_S", "did not end within 1 s")],
)
def test_a_version_that_never_answers_is_given_up(shelf: Shelf, limit: str, reason: str) -> None:
    """A golden instance over which the model hangs costs a bounded time, of the processor or of the clock."""
    found = shelf.put_estimator("2", hanging(), [(50.0, 20.0)])
    question = proving.Question(
        store=shelf.store, model=MODEL, version="2", digest=found.digest, terms=registry.Terms()
    )
    code = f"import sys; from models import proving; proving.{limit} = 1; proving.main()"
    asked = subprocess.run(
        [sys.executable, "-c", code],
        input=question.line(),
        capture_output=True,
        cwd=ROOT,
        check=True,
    )

    assert reason in json.loads(asked.stdout)


def test_the_process_that_tries_versions_out_knows_nothing_and_may_little(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no descriptor of ours, no secret in its environment, and can neither write a byte nor open many files."""
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://secret")
    prover = proving.Prover({"OMP_NUM_THREADS": "1"})
    found = shelf.registered()
    with (shelf.store.parent / "open").open("wb") as ours:
        os.set_inheritable(ours.fileno(), True)
        prover.prove(
            proving.Question(
                store=shelf.store, model=MODEL, version="1", digest=found.digest, terms=registry.Terms()
            )
        )
        assert prover._process is not None
        about = Path(f"/proc/{prover._process.pid}")
        environment = (about / "environ").read_bytes()
        descriptors = {str(each.readlink()) for each in (about / "fd").iterdir()}
    prover.end()

    assert environment.split(b"\0")[:-1] == [b"OMP_NUM_THREADS=1"]
    assert not any(name.endswith("/open") or "socket" in name for name in descriptors)


def test_the_limits_are_those_of_the_forked_process() -> None:
    """What a version may take is bounded where it runs: no byte in a file, 64 files, processor time and memory."""
    code = (
        "import resource as r; from models import proving; proving._limit(1000);"
        "print(*(r.getrlimit(getattr(r, 'RLIMIT_' + n))[1] for n in 'FSIZE NOFILE CPU CORE AS'.split()))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)

    assert list(map(int, out.split())) == [0, 64, proving.PROCESSOR_S + 1, 0, (2 << 30) + 8000]
