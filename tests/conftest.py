"""The world the tests live in: one service per database for the session, and an audit after every test that wrote."""

from __future__ import annotations

import compileall
import functools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests import auditor
from tests.backups import Backups
from tests.postgres import Postgres
from tests.service import ROOT, Caller, Service, running

DATABASES = ("sqlite", "postgresql")
# Files that take long with few tests; the others take longer the more tests they have.
LONG = (
    "fuzz", "crashes", "connection", "store_outage", "supervisor", "replays", "epochs", "witnessed", "erasing",
    "idempotency_engine", "client_assertions", "commands", "misbehaving", "bench", "apart", "pages_browser",
    "console", "limits", "foreign_issuer", "replays_trouble", "replays_compared", "verify", "conditions",
    "client_keys", "erasure_many", "keyring", "console_pages", "export", "readme", "revocation", "lookups",
)  # fmt: skip

# Files that look at one service behind nginx, which takes long to start: one worker of a run has all of them.
TOGETHER = dict.fromkeys(("pages_browser", "console_pages", "console"), "behind a prefix")


def pytest_configure(config: pytest.Config) -> None:
    """Do once what would be done thousands of times.

    Every client of httpx reads all certificates there are, 25 ms, although tests speak plain HTTP. And hundreds of
    processes would each compile the rooms where writing byte code is forbidden.
    """
    httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(config))
        for room in ("api", "db", "migrations", "models", "tests"):
            compileall.compile_dir(ROOT / room, quiet=1)


class Failures:
    """Say what failed when it fails: a run that is ended from outside never gets to its summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal = self._plugins.get_plugin("terminalreporter")
            terminal.write_line(f"\n{report.when} of {report.nodeid} failed\n{report.longreprtext}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left alone with one of them at the end."""
    size = Counter(item.path for item in items)
    rank = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: (rank.get(item.path.stem, len(LONG)), -size[item.path], str(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, as `--dist loadfile` does, and some of them together."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return TOGETHER.get(Path(file).stem.removeprefix("test_"), file)

    return Together(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """Make a folder whose path leaves room for the names of unix sockets (107 bytes)."""
    with TemporaryDirectory(prefix="onrecord-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(short_folder: Path) -> Iterator[Postgres]:
    """Run one PostgreSQL for the session; every user takes a database of its own in it."""
    with Postgres(short_folder / "pg") as server:
        yield server


@pytest.fixture(scope="session")
def services() -> Iterator[tuple[dict[str, Service], ExitStack]]:
    """Hold the services that run already, until the session ends."""
    with ExitStack() as stack:
        yield {}, stack


@pytest.fixture(scope="session", params=DATABASES)
def service(
    request: pytest.FixtureRequest, short_folder: Path, services: tuple[dict[str, Service], ExitStack]
) -> Service:
    """Run the whole service, once for every kind of database, however often tests change between the two."""
    kind, (found, stack) = request.param, services
    if kind not in found:
        url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else None
        found[kind] = stack.enter_context(running(short_folder / kind, url))
    return found[kind]


@pytest.fixture(scope="session")
def behind_a_prefix(short_folder: Path) -> Iterator[Service]:
    """Run a service behind the shipped nginx, under a path prefix, for browsers to look at; audited at the end."""
    from tests.browsing import prefixed  # browsers and models: a second that few tests need

    with prefixed(short_folder / "prefix") as service:
        yield service
        assert auditor.audit(service.database_url) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start the distribution's Chromium for a file; no longer, or its loop would be in the way of other files' own."""
    from tests.browsing import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def demo(service: Service) -> Iterator[Caller]:
    """Sign in as an ordinary caller; afterwards the whole ledger is audited against every answer it got."""
    with service.caller("demo") as caller:
        yield caller
    assert auditor.audit(service.database_url, caller.seen) == []


@pytest.fixture
def admin(service: Service) -> Iterator[Caller]:
    """Sign in with every scope there is; audited like everyone."""
    with service.caller("admin") as caller:
        yield caller
    assert auditor.audit(service.database_url, caller.seen) == []


@pytest.fixture
def backups(request: pytest.FixtureRequest, tmp_path: Path) -> Backups:
    """Take backups into the test's own folder."""
    return Backups(request, tmp_path)


def must_have(what: str) -> None:
    """Skip where a program is not installed, and say so; fail where the run promised to have everything."""
    if os.environ.get("ONRECORD_TEST_REQUIRE") == "all":
        pytest.fail(f"{what} is missing, and ONRECORD_TEST_REQUIRE=all")
    pytest.skip(f"{what} is not installed")
