"""P1 under kill -9: whatever is killed while callers call, every answer that was given is on record, exactly, once.

The oracle (tests/oracle.py) holds what callers were told; the auditor compares it with the database after every kill.
`ONRECORD_SOAK` says how many kills of each kind there are; `make soak` makes it 200. A killed process loses nothing
that it had written, synced or not, so kill -9 says nothing about fsync: the last tests watch the system calls.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import sqlite3
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests import auditor, faults
from tests.conftest import DATABASES, must_have
from tests.faults import Gap
from tests.oracle import BROKEN, REFUSED, Call, Oracle, asking
from tests.postgres import Postgres, plain
from tests.service import Service, running

KILLS = int(os.environ.get("ONRECORD_SOAK", "2"))
PROGRESS_EVERY = 20
KILLS_UNTIL_RED = 5
# Designed: 2 s for the engine, asked by the soak. A busy machine may be slow: what was measured is printed.
ENGINE_USUALLY_BACK_WITHIN_S = 2.0
ENGINE_BACK_WITHIN_S = 30.0
SERVICE_BACK_WITHIN_S = 120.0
LEDGER_BACK_WITHIN_S = 60.0
TURNED_AWAY_WITHIN_S = 10.0
LONGEST_CALL_S = 25.0  # the engine's deadline, half a second to notice, the door's grace, and a busy machine
ENGINE_LIVES_S = 0.7  # an engine that dies within a second is restarted more slowly; that is not the subject
MOMENT_S = 0.2
REFERENCES = """SELECT prediction.reference, record.id FROM prediction JOIN record ON record.idx = prediction.idx
                WHERE prediction.reference >= '{prefix}-' AND prediction.reference < '{prefix}.'"""

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module", params=DATABASES)
def prepared(request: pytest.FixtureRequest, short_folder: Path) -> Service:
    """Set a service up once for each kind of database; tests take copies, which is quicker."""
    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    (var := short_folder / f"crash-{request.param}").mkdir()
    return Service(var, url).set_up()


@pytest.fixture
def var(prepared: Service, short_folder: Path) -> Path:
    """Give a test a var folder of its own that was set up."""
    path = short_folder / uuid.uuid4().hex[:6]
    shutil.copytree(prepared.var, path)
    return path


@pytest.fixture
def database_url(prepared: Service, request: pytest.FixtureRequest) -> str | None:
    """Give a test a database of its own that was set up; None is the file in its var folder."""
    if prepared.database_url.startswith("sqlite"):
        return None
    url: str = request.getfixturevalue("postgres").new_database(
        prepared.database_url.split("/")[3].split("?")[0]
    )
    return url


class Campaign:
    """One kind of kill, again and again, with all that is asked after each of them."""

    def __init__(self, service: Service, oracle: Oracle, *allowed: str) -> None:
        self.service, self.oracle, self.allowed = service, oracle, {"201", "503", *allowed}
        self.name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split()[0]
        self._before = 0
        self.back_after: list[float] = []

    @property
    def kills(self) -> int:
        """Count the kills so far."""
        return len(self.back_after)

    def kill(self, blow: Callable[[], Gap], within_s: float, after_s: float) -> tuple[Gap, list[Call]]:
        """Strike while callers call, wait until all of them are served again; return the calls of that time."""
        self._before = len(self.oracle.calls)
        with self.oracle.calling():
            self.oracle.wait_until_served(time.monotonic(), within_s)
            time.sleep(random.uniform(after_s, 2 * after_s))
            gap = blow()
            self.back_after.append(self.oracle.wait_until_served(gap.again, within_s))
        calls = self.oracle.calls[self._before :]
        assert [call for call in calls if call.said not in self.allowed] == []
        assert max(call.ended - call.at for call in calls) < LONGEST_CALL_S
        assert {call.retry_after for call in calls if call.said == "503"} <= {"1"}
        return gap, calls

    def examine(self) -> list[str]:
        """Compare the database with what callers were told.

        The audit reads every byte there is. In a long campaign it is made after each of the first kills and then
        once for many: nothing that was lost comes back, so none of the later ones misses what the earlier did.
        """
        is_thorough = self.kills <= PROGRESS_EVERY or self.is_at_a_stage
        stored = references(self.service.database_url, self.oracle.prefix)
        calls = self.oracle.calls[0 if is_thorough else self._before :]
        findings = [each for call in calls for each in differences(call, stored)]
        if is_thorough:
            findings += map(str, auditor.audit(self.service.database_url, self.oracle.seen))
        if self.is_at_a_stage:
            self._report({each for ids in stored.values() for each in ids})
        return findings

    @property
    def is_at_a_stage(self) -> bool:
        """Say whether it is time to tell a person who watches how it goes."""
        return self.kills % PROGRESS_EVERY == 0 or self.kills == KILLS

    def _report(self, stored: set[str]) -> None:
        counts = ", ".join(f"{self.oracle.count(said)} {said}" for said in sorted(self.allowed))
        unanswered = len(stored - set(self.oracle.seen))
        back = sorted(self.back_after)
        sys.stdout.write(
            f"\n  {self.name} {self.kills}/{KILLS} kills: {counts}, {unanswered} records without an answer; "
            f"all callers served again after {back[len(back) // 2]:.2f} s (median), {back[-1]:.2f} s (longest)"
        )
        sys.stdout.flush()


def references(database_url: str, prefix: str) -> Mapping[str, list[str]]:
    """Map each reference of an oracle that is in the database to the ids of the records it is in."""
    query = REFERENCES.format(prefix=prefix)
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = [
                (reference, str(uuid.UUID(bytes=found))) for reference, found in connection.execute(query)
            ]
    else:
        with psycopg.connect(plain(database_url)) as connection:
            rows = [(reference, str(found)) for reference, found in connection.execute(query.encode())]
    stored = defaultdict(list)
    for reference, record in rows:
        stored[reference].append(record)
    return stored


def differences(call: Call, stored: Mapping[str, list[str]]) -> Iterator[str]:
    """Compare what one caller was told with what is stored under the references that only this call used."""
    found = [stored.get(reference, []) for reference in sorted(call.references)]
    if call.answered and not any(found):
        yield f"lost: {call.record} was answered and is not on record"
    elif call.answered and found != [[call.record]] * call.rows:
        yield f"{call.record} was answered, but its {call.rows} rows are recorded as {found}"
    elif any(found) and (len(found[0]) != 1 or found != [found[0]] * call.rows):
        yield f"{call.reference} was asked once with {call.rows} rows and is recorded as {found}"
    elif any(found) and "nothing was recorded" in call.detail:
        yield f"{call.reference} is on record, although its caller was told: {call.detail}"


def test_no_answer_is_lost_when_the_engine_is_killed(var: Path, database_url: str | None) -> None:
    """A killed engine (kill -9) means 503 at once, answers again within seconds, and no answer lost."""
    with started(Service(var, database_url)) as service, asking(service.url, var) as oracle:
        campaign = Campaign(service, oracle)
        for _ in range(KILLS):
            gap, calls = campaign.kill(
                lambda: faults.kill_engine(service), ENGINE_BACK_WITHIN_S, ENGINE_LIVES_S
            )

            turned_away = [call for call in calls if call.said == "503"]
            assert {call.problem for call in turned_away} == {"engine-unavailable"}
            assert max(call.ended - max(call.at, gap.since) for call in turned_away) < TURNED_AWAY_WITHIN_S
            assert campaign.examine() == []
        back = sorted(campaign.back_after)
        assert "ONRECORD_SOAK" not in os.environ or back[len(back) // 2] < ENGINE_USUALLY_BACK_WITHIN_S


def test_no_answer_is_lost_when_everything_is_killed(var: Path, database_url: str | None) -> None:
    """When every process is killed at once and the service is started again, no answer is lost."""
    with started(Service(var, database_url)) as service, asking(service.url, var) as oracle:
        campaign = Campaign(service, oracle, REFUSED, BROKEN)
        for _ in range(KILLS):
            campaign.kill(lambda: faults.restart_everything(service), SERVICE_BACK_WITHIN_S, MOMENT_S)

            assert campaign.examine() == []


def test_no_answer_is_lost_when_postgresql_dies(short_folder: Path) -> None:
    """A PostgreSQL that dies is waited for with 503s in time, and no process of ours ends or has to be restarted."""
    var = short_folder / uuid.uuid4().hex[:6]
    with (
        Postgres(short_folder / f"pg-{var.name}") as postgres,
        running(var, postgres.new_database()) as service,
        asking(service.url, var) as oracle,
    ):
        campaign = Campaign(service, oracle)
        engine = faults.engine_of(service)
        for stop in itertools.islice(itertools.cycle((Postgres.kill, faults.kill_server)), KILLS):
            restart = partial(faults.restart_server, postgres, stop)
            gap, calls = campaign.kill(restart, LEDGER_BACK_WITHIN_S, MOMENT_S)

            assert {call.problem for call in calls if call.said == "503"} <= {"audit-unavailable"}
            assert "201" not in [
                call.said for call in calls if gap.since < call.at and call.ended < gap.until
            ]
            assert campaign.examine() == []
            assert faults.engine_of(service) == engine


def test_an_engine_that_answers_first_is_caught(var: Path, database_url: str | None) -> None:
    """The same campaign against an engine that answers before it commits finds answers that are on no record."""
    mutant = faults.Mutant("answer-before-commit", var, database_url)
    with started(mutant) as service, asking(service.url, var) as oracle:
        campaign = Campaign(service, oracle)
        findings: list[str] = []
        while not findings and campaign.kills < KILLS_UNTIL_RED:
            campaign.kill(lambda: faults.kill_engine(service), ENGINE_BACK_WITHIN_S, ENGINE_LIVES_S)
            with service.caller() as caller:
                faults.commit(caller, "afterwards")  # and with it what was answered before, and not killed
            findings = campaign.examine()

    lost = {finding.split()[1] for finding in findings if finding.startswith("lost: ")}
    assert lost
    assert {f"record {record}" for record in lost} <= {
        found.where for found in auditor.audit(service.database_url, oracle.seen)
    }
    sys.stdout.write(f"\n  red after {campaign.kills} kills: {len(lost)} of {len(oracle.seen)} answers lost")


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ({"said": "201", "record": "a"}, {}),
        ({"said": "201", "record": "a"}, {"r.0": ["a"]}),
        ({"said": "201", "record": "a"}, {"r.0": ["b"], "r.1": ["b"]}),
        ({"said": "201", "record": "a"}, {"r.0": ["a", "b"], "r.1": ["a", "b"]}),
        ({"said": "503"}, {"r.0": ["a"]}),
        ({"said": "503"}, {"r.0": ["a", "b"], "r.1": ["a", "b"]}),
        ({"said": "503", "detail": "nothing was recorded; ask again"}, {"r.0": ["a"], "r.1": ["a"]}),
    ],
    ids=["lost", "half lost", "elsewhere", "doubled", "half kept", "doubled unseen", "denied"],
)
def test_every_difference_is_found(said: dict[str, str], stored: dict[str, list[str]]) -> None:
    """Whatever may differ between what a caller was told and what is stored is a finding."""
    told = Call(caller=0, reference="r", rows=2, at=0.0, ended=0.0, **said)

    assert len(list(differences(told, stored))) == 1


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("mutation", "order"),
    [
        (None, ["WAL written", "WAL synced", "answered"]),
        ("commit-without-fsync", ["WAL written", "answered"]),
        ("answer-before-commit", ["answered", "WAL written", "WAL synced"]),
    ],
    ids=["as built", "commit-without-fsync", "answer-before-commit"],
)
def test_an_answer_leaves_after_its_record_is_synced(
    var: Path, mutation: str | None, order: list[str]
) -> None:
    """The engine's system calls show the WAL synced between its last write and the answer; mutants show otherwise."""
    if shutil.which("strace") is None:
        must_have("strace")
    reference = uuid.uuid4().hex
    with (
        started(Service(var) if mutation is None else faults.Mutant(mutation, var)) as service,
        service.caller() as caller,
    ):
        faults.commit(caller, "before")  # whatever is done only once is done
        with faults.traced(faults.engine_of(service), var / "trace.txt") as trace:
            faults.commit(caller, reference)

    assert (
        order
        == [name for name, _ in itertools.groupby(faults.order_of(trace.read_text(), reference))][
            : len(order)
        ]
    )


@contextlib.contextmanager
def started(service: Service) -> Iterator[Service]:
    """Run a service that was set up for the length of a block."""
    try:
        yield service.start()
    finally:
        service.kill()
