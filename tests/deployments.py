"""A deployment per test: set up once, copied for each; for tests that start, stop and break processes of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from api.settings import Settings
from tests.engines import settings_of
from tests.service import Service


@pytest.fixture(scope="session")
def prepared(short_folder: Path) -> Path:
    """Set a deployment up once: keys, database, versions, clients."""
    folder = short_folder / "d"
    folder.mkdir()
    return Service(folder / "t").set_up().var


@pytest.fixture(scope="session")
def another(prepared: Path) -> Callable[[], Path]:
    """Copy what setup made, as often as asked."""
    numbers = count()
    return lambda: Path(shutil.copytree(prepared, prepared.parent / f"v{next(numbers)}"))


@pytest.fixture
def var(another: Callable[[], Path]) -> Iterator[Path]:
    """Give a test its own copy of what setup made."""
    yield (copy := another())
    shutil.rmtree(copy)


@pytest.fixture
def settings(var: Path) -> Settings:
    """Read the settings of the test's own deployment."""
    return settings_of(var)
