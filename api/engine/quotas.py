"""What the engine counts for all doors of its host: requests and instances of clients, failures of addresses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from api import problems
from api.engine.desk import Request
from api.limits import Limit, Over
from api.settings import Settings

Reply = tuple[dict[str, Any], bytes]


class Quotas:
    """Counts in memory: a new engine begins anew."""

    def __init__(self, settings: Settings, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._requests = Limit("requests", settings.rate_per_client)
        self._instances = Limit("instances", settings.instances_per_client)
        self._failures = Limit("failures", settings.failures_per_address)

    def refusal(self, request: Request, instances: int) -> Reply | None:
        """Count a request of a client; say what to answer where it is one too many."""
        now_s = self._clock_s()
        over = self._requests.over(request.client_id, now_s)
        if over is None and instances:
            over = self._instances.over(request.client_id, now_s, instances)
        if over is None:
            return None
        head = {"status": 429, "record": None, "headers": over.headers()}
        return head, problems.body("quota-exceeded", over.detail, **over.more())

    def give_back(self, client: str, instances: int) -> None:
        """Count a request no more, because nobody has worked on it.

        A request can hold this; one that held itself in it would keep its body until a collector comes.
        """
        self._requests.give_back(client, 1)
        self._instances.give_back(client, instances)

    def failed(self, address: str) -> Over | None:
        """Count a failure to authenticate; one too many is said."""
        return self._failures.over(address, self._clock_s())


def told(over: Over | None) -> dict[str, Any]:
    """Write for a door what `failed` says."""
    return {"status": 200, "record": None, "headers": {}, "over": None if over is None else asdict(over)}
