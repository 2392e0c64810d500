"""A deployment per test: set up once, copied for each; for tests that start, stop and break processes of their own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
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


@pytest.fixture
def var(prepared: Path) -> Iterator[Path]:
    """Give a test its own copy of what setup made."""
    copy = prepared.parent / f"v{time.monotonic_ns() % 1_000_000}"
    shutil.copytree(prepared, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def settings(var: Path) -> Settings:
    """Read the settings of the test's own deployment."""
    return settings_of(var)
