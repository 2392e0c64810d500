"""Whatever is sent in whatever order, while time passes: one record for each key that counts (I7)."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from api.settings import Settings
from db.idempotency import LIFETIME_US
from tests import auditor, sealed
from tests.engines import Answered, Door, engine_in_thread
from tests.test_idempotency_engine import Clock, ask

pytest_plugins = ("tests.deployments",)
NAMES = st.integers(0, 2)
REPLAYED = {"Idempotent-Replayed": "true"}


class Sending(RuleBasedStateMachine):
    """Callers who send, send again, send something else, and wait; and what they must be told."""

    def __init__(self, door: Door, clock: Clock, number: int, size: Callable[[], int]) -> None:
        super().__init__()
        self.door, self.clock, self.number, self.size = door, clock, number, size
        self.known: dict[tuple[int, int], tuple[int, Answered, int]] = {}
        self.expected = size()

    @rule(client=NAMES, key=NAMES, age=NAMES)
    def send(self, client: int, key: int, age: int) -> None:
        """Send one request: it is new, known, or not what its key was sent with."""
        body = b'{"instances": [{"age": %d}]}' % (50 + age)
        (answer,) = self.door.receive(
            ask(self.door, f"key-{self.number:08}-{key:08}", body, client=f"demo-{client}")
        )
        sent, first, until_us = self.known.get((client, key), (age, answer, 0))
        if until_us <= self.clock.now_us:
            assert (answer.status, answer.head["headers"]) == (201, {})
            self.known[client, key] = age, answer, self.clock.now_us + LIFETIME_US
            self.expected += 1
        elif sent != age:
            assert (answer.status, answer.problem) == (422, "key-reused")
        else:
            assert (answer.status, answer.head["headers"]) == (201, REPLAYED)
            assert (answer.body, answer.head["receipt"]) == (first.body, first.head["receipt"])

    @rule()
    def send_without(self) -> None:
        """Send a request that has no key: always a new one."""
        assert self.door.predict("housing", {"age": 50}).head["headers"] == {}
        self.expected += 1

    @rule(hours=st.integers(1, 13))
    def wait(self, hours: int) -> None:
        """Let time pass."""
        self.clock.now_us += hours * 3_600_000_000

    @invariant()
    def no_record_too_many(self) -> None:
        """What is on record is what was new, once."""
        assert self.size() == self.expected


def test_one_record_for_each_key_that_counts(settings: Settings) -> None:
    """Twenty stories of twenty steps, told to one engine; afterwards the ledger is audited."""
    clock, numbers = Clock(), itertools.count()

    def size() -> int:
        ((number,),) = sealed.sql(settings.database_url, "SELECT size FROM head")
        return int(number)

    with engine_in_thread(settings, clock=clock) as door:
        run_state_machine_as_test(
            lambda: Sending(door, clock, next(numbers), size),
            settings=hypothesis_settings(max_examples=20, stateful_step_count=20, deadline=None),
        )

    assert auditor.audit(settings.database_url) == []
