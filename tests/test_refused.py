"""What would make a promise a lie stops the start: the engine ends with code 2 and says what to set right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import Service

pytest_plugins = ("tests.deployments",)

LEDGER_KEYS = ("keys/ledger/sign.pem", "keys/ledger/mac.key")


def _opened(name: str) -> Callable[[Path], None]:
    return lambda var: (var / name).chmod(0o644)


def _lost(name: str) -> Callable[[Path], None]:
    return lambda var: (var / name).unlink()


def _of_another(var: Path) -> None:
    """Pin the public key of another ledger."""
    line = (var / "ledger.pub").read_text()
    name, _, rest = line.partition("+")
    (var / "ledger.pub").write_text(f"{name}.other+{rest}")


def _nothing(var: Path) -> None:
    """Leave everything as it was."""


BROKEN: dict[str, tuple[Callable[[Path], None], dict[str, str], str]] = {
    # what is broken, the settings, and what has to be said
    **{f"{name} open to others": (_opened(name), {}, f"{name} is open to others") for name in LEDGER_KEYS},
    **{f"{name} missing": (_lost(name), {}, f"{name} is missing") for name in LEDGER_KEYS},
    "another pinned key": (_of_another, {}, "ledger.pub is not"),
    "in memory": (_nothing, {"DATABASE_URL": "sqlite:///:memory:"}, "name a file"),
    "a query": (_nothing, {"DATABASE_URL": "sqlite:///x.db?mode=memory"}, "name a file"),
    "another kind": (_nothing, {"DATABASE_URL": "mysql://localhost/x"}, "postgresql"),
    "an option": (
        _nothing,
        {"DATABASE_URL": "postgresql+psycopg://localhost/x?autocommit=on"},
        "leave it out of DATABASE_URL",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_engine_that_could_not_keep_its_promise_does_not_start(var: Path, name: str) -> None:
    """D: keys that others can read or that are not the pinned ones, and databases that forget, are refused by name."""
    spoil, settings, said = BROKEN[name]
    spoil(var)

    refused = Service(var, **settings).command("engine", check=False)

    assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert "Traceback" not in refused.stderr
