"""Connections of the slow, the silent and the rude: each is bounded, none is answered wrongly, nobody else waits."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.processes.connection import HEAD_DEADLINE_S, WHOLE_DEADLINE_S
from tests import auditor
from tests.families import below
from tests.faults import command_of
from tests.service import Caller, Service, running
from tests.sockets import BODY, HOUSING, JSON, address, good, got, line, posted, raw, read, send

IDLE = 1_000
SOAK = int(os.environ.get("ONRECORD_SOAK", "0"))
HOSTILE = 500 * (SOAK or 10)  # 5,000 in the suite, 100,000 in the soak
SLACK_S = 20  # for a machine that has other things to do


@pytest.fixture(scope="module")
def service(short_folder: Path) -> Iterator[Service]:
    """Run a service for these tests alone: they count its processes' memory and read its log."""
    with running(short_folder / "connections") as service:
        yield service


@pytest.fixture
def caller(service: Service) -> Iterator[Caller]:
    """Sign in; afterwards the ledger holds exactly what was answered."""
    with service.caller("demo") as caller:
        yield caller
    assert auditor.audit(service.database_url, caller.seen) == []


def _slow(caller: Caller) -> dict[str, bytes]:
    """Write the beginnings of requests that will never be whole."""
    whole = posted(caller, BODY)
    within_host = whole[: whole.index(b"Host: ") + 6]
    return {
        "a head that stops": within_host,
        "a body that never begins": whole[: -len(BODY)],
        "a body that stops": whole[:-5],
        "a body that drips": whole[: -len(BODY)],
        "a head that drips": within_host,
        "refused, and its body never begins": raw(caller, "Content-Length: 9", line="POST /v1 HTTP/1.1"),
    }  # fmt: skip


def test_the_slow_are_told_so_and_nobody_waits_for_them(caller: Caller) -> None:
    """A head or a body that is not whole in time is 408, one byte a second or none; others are served meanwhile."""
    with contextlib.ExitStack() as opened:
        lines = {name: opened.enter_context(line(caller)) for name in _slow(caller)}
        for name, start in _slow(caller).items():
            lines[name].sendall(start)
        started = time.monotonic()
        waits = []
        while time.monotonic() - started < HEAD_DEADLINE_S + 2:
            for name in ("a head that drips", "a body that drips"):
                with contextlib.suppress(OSError):
                    lines[name].sendall(b"{")
            asked = time.monotonic()
            good(caller)
            waits.append(time.monotonic() - asked)
            time.sleep(1)

        assert read(lines.pop("refused, and its body never begins")).status == 404
        for name, connection in lines.items():
            connection.settimeout(SLACK_S)
            answer = read(connection)
            assert (answer.status, answer.type) == (408, "request-timeout"), name
            answer.is_sound()
            assert connection.recv(1) == b"", name
    assert sorted(waits)[len(waits) // 2] < 1


def test_who_was_refused_and_sends_nothing_more_is_cut_off(caller: Caller) -> None:
    """A body that nobody waits for any more cannot keep the connection either."""
    with line(caller, WHOLE_DEADLINE_S + SLACK_S) as connection:
        connection.sendall(raw(caller, JSON, "Content-Length: 9", line="POST /v1 HTTP/1.1"))

        assert read(connection).status == 404
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def _p99(caller: Caller, count: int) -> float:
    """Ask again and again, and say within what time nearly all were answered."""
    waits = []
    for _ in range(count):
        asked = time.monotonic()
        good(caller)
        waits.append(time.monotonic() - asked)
    return sorted(waits)[-1 - count // 100]


@pytest.mark.soak
def test_a_thousand_silent_connections_keep_nobody_from_being_served(caller: Caller) -> None:
    """Whoever connects and says nothing costs the others nothing, and is cut off in time.

    How long the others wait is measured in the soak only: a busy machine makes everybody wait.
    """
    usual = _p99(caller, 500 if SOAK else 20)
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as waiting:
        for _ in range(IDLE):
            waiting.register(opened.enter_context(line(caller)), selectors.EVENT_READ)
        beside = _p99(caller, 500 if SOAK else 50)
        until = time.monotonic() + HEAD_DEADLINE_S + SLACK_S
        while waiting.get_map() and time.monotonic() < until:
            for key, _ in waiting.select(timeout=1):
                waiting.unregister(key.fileobj)

        assert len(waiting.get_map()) == 0
    assert not SOAK or beside < 2 * usual + 0.01, (usual, beside)


def test_what_follows_a_request_cannot_answer_it(caller: Caller) -> None:
    """Rubbish behind a good request is not answered before it: the prediction comes, then the end."""
    with line(caller) as connection:
        connection.sendall(posted(caller, BODY) + b"\x00rubbish\r\n\r\n")
        answer = read(connection)

        assert answer.status == 201
        caller.seen[answer.headers["Location"].rsplit("/", 1)[1]] = answer.body
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_a_refusal_reaches_whoever_is_still_sending(caller: Caller) -> None:
    """413 is read by a client that sends all of its nine megabytes first."""
    body = bytes(9 << 20)

    assert send(caller, posted(caller, body)).type == "too-large"


def test_a_token_is_asked_for_before_a_body_is_invited(caller: Caller) -> None:
    """`Expect: 100-continue` without a token is 401 at once, with one 100 first and then the answer."""
    head = f"POST {HOUSING} HTTP/1.1\r\nHost: {address(caller)}\r\n{JSON}\r\nContent-Length: {len(BODY)}\r\n"
    with line(caller) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")
    with line(caller) as connection:
        token = caller.http.headers["authorization"]
        connection.sendall(f"{head}Expect: 100-continue\r\nAuthorization: {token}\r\n\r\n".encode())
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        answer = read(connection)
    assert answer.status == 201
    caller.seen[answer.headers["Location"].rsplit("/", 1)[1]] = answer.body


def test_who_leaves_is_noted_without_a_trace(service: Service, caller: Caller) -> None:
    """A caller that hangs up in its body, or before its answer, is one line of the log, and no fault of ours."""
    before = len(service.log())
    with line(caller) as connection:
        connection.sendall(posted(caller, BODY)[:-5])
    with line(caller) as connection:
        connection.sendall(posted(caller, b'{"instances":[{"age":51,"reference":"left"}]}'))
    with line(caller) as connection:
        connection.sendall(got(caller, "/v1/predictions", "Accept: text/csv"))

    until = time.monotonic() + SLACK_S
    while "caller left" not in service.log()[before:] or not caller.find(reference="left"):
        assert time.monotonic() < until
        time.sleep(0.1)
    said = service.log()[before:]
    assert "trace" not in said.lower()
    assert '"error"' not in said


def _rude(caller: Caller) -> list[bytes]:
    """Write one request of each unpleasant kind."""
    deep = b'{"instances":' + b"[" * 10_000
    return [
        posted(caller, deep),
        posted(caller, BODY, JSON, *(f"X-{n}: {'y' * 200}" for n in range(150))),
        posted(caller, b'{"instances":[{"age":"' + b"x" * 20_000 + b'"}]}'),
        got(caller, "/v1/" + "a" * 20_000),
        got(caller, "/v1/predictions?limit=x&colour=red"),
        raw(caller, JSON, "Transfer-Encoding: chunked", body=b"5\r\nabc"),
        raw(caller, host="evil.example", line="GET / HTTP/1.1"),
        b"\x16\x03\x01" * 100 + b"\r\n\r\n",
        posted(caller, BODY)[:-5],
        f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {'x' * 4000}\r\n\r\n".encode(),
    ]


def _memory(service: Service) -> int:
    """Say how many KiB the doors hold."""
    assert service.process is not None
    doors = [pid for pid in below(service.process.pid) if "doors" in command_of(pid)]
    assert len(doors) == 1
    status = Path(f"/proc/{doors[0]}/status").read_text()
    return int(next(text for text in status.splitlines() if text.startswith("VmRSS")).split()[1])


def bombard(caller: Caller, count: int) -> None:
    """Send rude requests, on a new connection each, and read whatever comes."""
    rude = _rude(caller)
    for number in range(count):
        with contextlib.suppress(OSError), line(caller, timeout=10) as connection:
            connection.sendall(rude[number % len(rude)])
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1 << 16)[:9] in (b"HTTP/1.1 ", b"")


@pytest.mark.soak
def test_rudeness_leaves_nothing_behind(service: Service, caller: Caller) -> None:
    """After thousands of hostile requests the doors hold no more memory than before, and serve."""
    bombard(caller, 1_000)  # warms every path that the rude can take
    before = _memory(service)

    bombard(caller, HOSTILE)

    good(caller)
    assert _memory(service) < before * 1.1
