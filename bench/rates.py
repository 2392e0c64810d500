"""`python -m bench.rates`: single rows at a fixed rate, at shares of what the service can do, whatever it answers.

A closed loop, as wrk is, sends no request while it waits for an answer, so a stall is one slow request to it. Here
every request has its time, and a late answer counts from that time, for all that should have been sent meanwhile
(no coordinated omission). wrk of the distributions cannot do that (wrk2's -R), so this client is our own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench import load, services
from bench.load import Target
from bench.results import Report

CONNECTIONS = 64
SHARES = (0.5, 0.8, 0.95)
_TICK_S = (
    0.001  # what is due within a tick is sent together: a finer clock would take a core from the service
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of load at each rate")
    parser.add_argument("--twins", nargs="+", default=["on", "off"], choices=["on", "off"])
    chosen = parser.parse_args(arguments)
    load.need_wrk()
    report = Report("Open-loop load")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for twin in chosen.twins:
            with services.serving(Path(name) / twin, "sealed", ONRECORD_TWIN=twin) as serving:
                load.run(serving.target, CONNECTIONS, 2)
                capacity = load.run(serving.target, CONNECTIONS, chosen.seconds).per_s
                for share in SHARES:
                    seen = uvloop.run(at_rate(serving.target, capacity * share, chosen.seconds))
                    rows.append([f"twin {twin}", capacity, share, *seen.figures()])
    columns = ["SQLite", "capacity, requests/s", "share of it", "asked a second", "answered a second",
               "p50 ms", "p99 ms", "p99.9 ms", "worst ms", "wrong answers"]  # fmt: skip
    report.table(
        f"single rows at a fixed rate, {CONNECTIONS} connections, from the time each was due", columns, rows
    )
    report.write()


@dataclass(slots=True)
class Seen:
    """What came of the requests of one rate: from when each was due to when its answer was whole, in seconds."""

    rate: float
    taken_s: list[float] = field(default_factory=list)
    wrong: int = 0
    until_s: float = 0.0

    def figures(self) -> list[object]:
        """Give the columns of the table."""
        cuts = statistics.quantiles(self.taken_s, n=1000)
        milliseconds = [each * 1e3 for each in (cuts[499], cuts[989], cuts[998], max(self.taken_s))]
        return [self.rate, len(self.taken_s) / self.until_s, *milliseconds, self.wrong]


class _Connection(asyncio.Protocol):
    """One kept connection with at most one request under way; `free` has those that may be given the next."""

    def __init__(self, seen: Seen, free: deque[_Connection], answered: asyncio.Event) -> None:
        self._seen, self._free, self._answered = seen, free, answered
        self._rest = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one, but not by its class
        self._free.append(self)

    def send(self, due: float, request: bytes) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, separator, body = self._rest.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._rest = b""
            self._seen.taken_s.append(time.perf_counter() - self.due)
            self._seen.wrong += not head.startswith(b"HTTP/1.1 201")
            self._free.append(self)
            self._answered.set()


async def at_rate(target: Target, rate: float, seconds: float) -> Seen:
    """Send each request when it is due, or as soon after that as a connection is free; wait for all answers."""
    seen, free, answered = Seen(rate), deque[_Connection](), asyncio.Event()
    place = urlsplit(target.url)
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(CONNECTIONS):
        transport, _protocol = await loop.create_connection(
            lambda: _Connection(seen, free, answered), place.hostname or "", place.port or 80
        )
        made.append(transport)
    requests = [_request(target, line) for line in target.bodies.read_bytes().splitlines()]
    count, start = round(rate * seconds), time.perf_counter()
    for number in range(count):
        due = start + number / rate
        while (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(max(ahead, _TICK_S))
        while not free:
            answered.clear()
            await answered.wait()
        free.popleft().send(due, requests[number % len(requests)])
    while len(free) < CONNECTIONS:
        answered.clear()
        await answered.wait()
    seen.until_s = time.perf_counter() - start
    for transport in made:
        transport.close()
    return seen


def _request(target: Target, body: bytes) -> bytes:
    place = urlsplit(target.url)
    headers = {"Host": place.netloc, "Content-Type": "application/json", **target.headers}
    lines = [f"POST {place.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


if __name__ == "__main__":
    services.unwind_when_ended()
    main()
