"""P1 and P2 with many writers: whatever they do to each other, one history, dense and signed once per size."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from db.engine import StorageRefused, open_pen, open_reader
from tests.ledgers import DATABASES, changed, fresh, predicted, writing
from tests.postgres import Postgres, name_of
from tests.sealed import check_all, leaves_of
from tests.test_moments import standing
from tests.vectors.slow import Slow
from tests.writer import findings, writer

IS_LONG = "ONRECORD_SOAK" in os.environ
WRITERS, KILLS = (16, int(os.environ["ONRECORD_SOAK"])) if IS_LONG else (4, 6)
GROUPS = 4  # that a writer is asked for at once


@pytest.fixture
def shared(postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    """Make an empty ledger that several hosts write; whatever they said must be so in the end."""
    url = postgres.new_ledger()
    yield url
    assert findings(url, tmp_path) == []
    check_all(url)


@pytest.mark.soak
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_many_writers_that_are_killed_make_one_history(
    postgres: Postgres, shared: str, tmp_path: Path, isolation: str
) -> None:
    """W1, W5: processes that append at once and die at random, whatever isolation their role was given."""
    role = (
        f"ALTER ROLE postgres IN DATABASE {name_of(shared)} SET default_transaction_isolation = '{isolation}'"
    )
    postgres.execute(role)
    with ExitStack() as crowd:
        crew = [crowd.enter_context(writer(shared, tmp_path)) for _ in range(WRITERS)]
        for each in crew:
            each.tell("append", random.randint(1, 9), GROUPS)
        for kills in range(KILLS):
            victim = random.randrange(WRITERS)
            crew[victim].kill()
            crew[victim] = crowd.enter_context(writer(shared, tmp_path))
            crew[victim].tell("append", random.randint(1, 9), GROUPS)
            for number, each in enumerate(crew):
                if number != victim and each.pipe.poll():
                    assert each.heard() == "done"
                    each.tell("append", random.randint(1, 9), GROUPS)
            if IS_LONG and kills % 20 == 0:
                assert findings(shared, tmp_path) == []
        assert [each.heard() for each in crew] == ["done"] * WRITERS
    sys.stdout.write(f"\n  {WRITERS} writers, {KILLS} kills, {isolation}: {len(leaves_of(shared))} records")


def test_the_same_records_give_the_same_tree_everywhere(
    postgres: Postgres, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2: with equal ids and secrets SQLite, PostgreSQL and the tree of the tests have equal leaves and roots."""
    records = [changed() if number % 50 == 0 else predicted() for number in range(600)]
    sizes = [1, 2, 3, 250, 1, 60, 283]
    ends = list(itertools.accumulate(sizes))
    roots, leaves = {}, {}
    for kind in DATABASES:
        counter = itertools.count()
        monkeypatch.setattr(os, "urandom", lambda size, counter=counter: _stream(size, next(counter)))
        url = fresh(kind, request, tmp_path)
        with writing(url) as ledger:
            groups = [records[end - size : end] for size, end in zip(sizes, ends, strict=True)]
            roots[kind] = [ledger.append(group).receipts[-1].root for group in groups]
        monkeypatch.undo()
        leaves[kind] = leaves_of(url)
        check_all(url)

    assert leaves["sqlite"] == leaves["postgresql"]
    slow = Slow(leaves["sqlite"])
    assert roots["sqlite"] == roots["postgresql"] == [slow.mth(0, end) for end in ends]


def _stream(size: int, number: int) -> bytes:
    return hashlib.shake_256(number.to_bytes(8)).digest(size)


def test_another_deployment_cannot_write_here(shared: str, tmp_path: Path) -> None:
    """W3: who comes with other keys is refused before and while appending, and disturbs nobody."""
    with writer(shared, tmp_path) as one, writer(shared, tmp_path, "has-other-keys") as stranger:
        assert one.ask("append", 2) == "done"
        assert stranger.ask("open").startswith("LedgerForked")
        assert stranger.ask("append", 1).startswith("LedgerForked")
        assert one.ask("append", 2) == "done"

    assert len(leaves_of(shared)) == 4


@pytest.mark.parametrize("moment", ["head locked", "records inserted", "head moved"])
def test_writers_that_take_no_lock_do_not_fork(shared: str, tmp_path: Path, moment: str) -> None:
    """W6: two that number the same records at once: at most one commits, and the other's root is never signed."""
    with (
        writer(shared, tmp_path, "does-not-lock", deadline_s=2.0) as one,
        writer(shared, tmp_path, "does-not-lock", deadline_s=2.0) as two,
    ):
        assert one.ask("append", 1) == "done"
        assert two.ask("append", 1) == "done"
        with standing(one, moment):
            theirs = two.ask("append", 2)
        ours = one.heard()

        assert [ours, theirs].count("done") <= 1
        assert one.ask("append", 1) == "done"


def test_a_url_cannot_choose_how_transactions_work(shared: str) -> None:
    """W5: what a URL says of isolation or of waiting is overridden; what is the driver's own is refused by name."""
    engine = open_pen(
        f"{shared}&options=-c%20default_transaction_isolation%3Dserializable&connect_timeout=1000"
    )
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    engine.dispose()

    for option in ("autocommit", "row_factory"):
        for opening in (open_pen, open_reader):
            with pytest.raises(StorageRefused, match=f"{option} is 'x': leave it out of DATABASE_URL"):
                opening(f"{shared}&{option}=x")
