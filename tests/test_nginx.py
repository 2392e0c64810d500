"""nginx with our configuration does what a door cannot: it cuts off, bounds, frames anew, and keeps quiet.

Before a stand-in, because what matters here is which bytes reach a door at all.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy import BODY_LIMIT, HURRIED, StandIn, ask, nginx, seconds_until_cut, send, wait

DEFAULT_S = 10.0  # what the timeouts are where nobody is in a hurry
HELD_BACK_S = 30.0  # before the stand-in writes on by itself


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """Serve the stand-in for one test."""
    with StandIn().serving() as door:
        yield door


@pytest.fixture
def port(tmp_path: Path, stand_in: StandIn) -> Iterator[int]:
    """Run nginx before the stand-in for one test."""
    with nginx(tmp_path, stand_in.port, changed=HURRIED) as number:
        yield number


def test_a_client_that_drips_its_headers_is_cut(port, stand_in):
    """All headers must be there within the header timeout, however steadily they come."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")

        assert 0.5 < seconds_until_cut(line, drip=b"a") < DEFAULT_S
    assert stand_in.seen == []


def test_a_client_whose_body_stops_is_cut_and_reaches_no_door(port, stand_in):
    """A pause in the body longer than the body timeout ends the connection; the door never heard of it."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")

        assert 0.5 < seconds_until_cut(line) < DEFAULT_S
    assert stand_in.seen == []


def test_a_client_that_drips_its_body_keeps_nobody_else_waiting(port, stand_in):
    """While a body drips in, the door is not troubled with it and others are answered."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"POST /dripped HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(5):
            line.sendall(b" ")
            assert ask(port, "/other").status == 200
            time.sleep(0.1)

    assert {"GET /other HTTP/1.1"} == {request for request, _, _ in stand_in.seen}


def test_a_body_of_eight_mebibytes_passes_and_one_byte_more_is_refused_unread(port, stand_in):
    """The limit is the service's: announced above it, a body is answered 413 before any of it is sent."""
    passed = ask(port, "/", method="POST", body=bytes(BODY_LIMIT))
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_LIMIT + 1}\r\n\r\n"
    refused = send(port, head.encode())

    assert (passed.status, len(stand_in.seen[0][2])) == (200, BODY_LIMIT)
    assert refused.problem == (413, "/problems/too-large")
    assert len(stand_in.seen) == 1


def test_a_chunked_body_arrives_with_its_length_and_not_beyond_the_limit(port, stand_in):
    """Nginx frames each request anew, so chunks end there, and they cannot smuggle a body past the limit."""
    framed = ask(port, "/", method="POST", body=iter([b"one", b"two"]))
    refused = ask(port, "/", method="POST", body=iter([bytes(1 << 20)] * 8 + [b"x"]))

    assert (framed.status, refused.problem[0]) == (200, 413)
    ((_, headers, body),) = stand_in.seen
    assert (body, headers["content-length"], "transfer-encoding" in headers) == (b"onetwo", "6", False)


def test_an_address_too_long_is_414(port, stand_in):
    """A request line above 8 KiB is refused, as a problem."""
    assert ask(port, "/" + "a" * 9000).problem == (414, "/problems/uri-too-long")
    assert stand_in.seen == []


@pytest.mark.parametrize("headers", [{"X-Long": "a" * 9000}, {f"X-{n}": "a" * 4000 for n in range(10)}])
def test_headers_too_large_are_431(port, stand_in, headers):
    """One header above 8 KiB, or all of them above 32, are refused, as a problem."""
    assert ask(port, "/", headers=headers).problem == (431, "/problems/headers-too-large")
    assert stand_in.seen == []


MALFORMED = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "unknown host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "unknown host behind the prefix": b"GET /ml/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "unknown host of a search": b"GET /v1/predictions HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "host with a user": b"GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    "port of eight digits": b"GET / HTTP/1.1\r\nHost: localhost:99999999\r\n\r\n",
    "two different hosts": b"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "two different hosts, the other way": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coded chunks": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "length of letters": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
    "length of 20 digits": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "NUL": b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "above the root": b"GET /../.. HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_and_unknown_hosts_are_400_and_reach_no_door(port, stand_in, name):
    """What two programs could read in two ways is refused before the second one sees it."""
    assert send(port, MALFORMED[name]).problem == (400, "/problems/bad-request")
    assert stand_in.seen == []


def test_trace_is_refused_with_the_methods_there_are(port, stand_in):
    """A 405 of nginx carries Allow, as RFC 9110 wants."""
    answer = ask(port, "/", method="TRACE")

    assert answer.problem == (405, "/problems/method-not-allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST, PUT"


def test_a_door_that_is_down_is_503_with_a_time_to_come_back(tmp_path):
    """Callers are told that it may pass, in the service's own shape, and nothing of upstreams and gateways."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but nobody listens
        with nginx(tmp_path, taken.getsockname()[1]) as alone:
            answer = ask(alone, "/v1/models")

    assert answer.problem == (503, "/problems/unavailable")
    assert (answer.headers["Retry-After"], answer.headers["Cache-Control"]) == ("2", "no-store")


@pytest.mark.parametrize("path", ["/gone", "/silent"])
def test_a_door_that_dies_or_hangs_is_503_and_the_post_is_not_repeated(tmp_path, stand_in, path):
    """Nobody knows whether the request is on record, so no second door is asked and the caller told to look."""
    with nginx(tmp_path, stand_in.port, stand_in.port, changed=HURRIED) as port:
        answer = ask(port, path, method="POST", body=b"{}")

    assert answer.problem == (503, "/problems/unavailable")
    assert "on record" in json.loads(answer.body)["detail"]
    assert [f"POST {path} HTTP/1.1"] == [request for request, _, _ in stand_in.seen]


def test_errors_of_the_service_pass_as_they_are(port):
    """Status, headers and body of a refusal are the door's own."""
    answer = ask(port, "/refused")

    assert (answer.status, answer.headers["X-Own"], answer.body) == (418, "yes", b'{"own": true}')


PATHS = [
    "/a//b",
    "/v1/x%2Fy",
    "/a/./b/../c",
    "/v1/models?q=%20a&q=/../",
    "/ml/../v1",
    "/%6dl/v1",
    "/mlx",
    "/;a",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_pass_untouched(port, stand_in, path):
    """Neither slashes nor dots nor escapes are put in order: the door judges what the caller wrote."""
    ask(port, path)

    assert f"GET {path} HTTP/1.1" == stand_in.seen[0][0]


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/x%2Fy//z?q=%20a", "/ml/twice"])
def test_the_prefix_is_stripped_and_the_rest_untouched(port, stand_in, path):
    """Behind /ml/ the door sees the path without it, to the letter."""
    ask(port, f"/ml{path}")

    assert f"GET {path} HTTP/1.1" == stand_in.seen[0][0]


def test_the_prefix_without_its_slash_leads_there_whatever_the_host(port):
    """/ml answers with a relative redirect, which no Host can bend."""
    answer = ask(port, "/ml", headers={"Host": "evil.example"})

    assert (answer.status, answer.headers["Location"]) == (301, "/ml/")


def test_the_answers_nginx_keeps_ready_cannot_be_asked_for(port, stand_in):
    """The inner address of a problem is not found from outside."""
    assert ask(port, "/.problem/503").problem == (404, "/problems/not-found")
    assert stand_in.seen == []


def test_what_a_stranger_says_about_himself_is_not_forwarded(port, stand_in):
    """Address and scheme are what nginx saw; Host keeps its port; the token passes."""
    lies = (
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "Forwarded",
        "X-Real-IP",
    )

    ask(port, "/", headers={**dict.fromkeys(lies, "for=6.6.6.6"), "Authorization": "Bearer t"})

    ((_, headers, _),) = stand_in.seen
    expected = {"host": f"127.0.0.1:{port}", "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"}
    assert {**expected, "authorization": "Bearer t", "accept-encoding": "identity"} == headers


@pytest.mark.parametrize("path", ["/v1/predictions?format=csv", "/ml/v1/predictions"])
def test_a_stream_is_not_held_back(port, stand_in, path):
    """The first line of a search is there before the door has written the second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HELD_BACK_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        first = answer.readline()
        stand_in.go_on.set()

        assert (first, answer.read()) == (b"first\n", b"second\n")


def test_connections_to_the_doors_are_kept(port, stand_in):
    """A second request costs the door no new connection."""
    for _ in range(5):
        ask(port, "/")

    assert len(stand_in.seen) == 5
    assert stand_in.connections <= (os.cpu_count() or 1)  # each worker of nginx keeps its own


def test_one_address_cannot_take_every_place(tmp_path, stand_in):
    """Beyond its number of open requests an address is answered 429, and can come back when one has ended."""
    with nginx(tmp_path, stand_in.port, changed={"addresses 128": "addresses 2"}) as port:
        lines = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2)]
        for line in lines:
            line.request("GET", "/v1/predictions")
        wait(lambda: len(stand_in.seen) == 2)
        refused = ask(port, "/")
        stand_in.go_on.set()
        for line in lines:
            line.getresponse().read()
            line.close()
        wait(lambda: ask(port, "/").status == 200)

    assert refused.problem == (429, "/problems/too-many-connections")
    assert refused.headers["Retry-After"] == "1"


def test_the_logs_hold_no_query_no_token_and_no_body(port, stand_in, tmp_path):
    """A line says when, who, which path and how it went, also where nginx itself failed or refused."""
    secret = "anna-1970"
    headers = {"Authorization": f"Bearer {secret}", "Referer": f"http://x/?{secret}", "User-Agent": secret}
    for path in ("/", "/v1/predictions", "/gone", "/ml/refused", "/" + "a" * 9000):
        stand_in.go_on.set()
        ask(port, f"{path}?reference={secret}", method="POST", body=secret.encode(), headers=headers)
    send(port, f"GET /?{secret} HTTP/1.1\r\nHost: {secret}\r\n\r\n".encode())
    send(port, f"POST /?{secret} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n".encode())
    access = tmp_path / "access.log"
    wait(lambda: access.read_text().count("\n") >= 7)

    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert secret not in access.read_text() + (tmp_path / "error.log").read_text()
    assert tuple(lines[0][name] for name in ("method", "path", "status", "door_status")) == (
        "POST",
        "/",
        200,
        "200",
    )
    assert [line["path"] for line in lines[:4]] == ["/", "/v1/predictions", "/gone", "/ml/refused"]
    assert (lines[2]["status"], lines[2]["door_status"]) == (503, "502")
