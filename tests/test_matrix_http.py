"""What a network can send before anything is understood: framing, hosts, targets, methods; byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from api.problems import PROBLEMS
from tests import auditor
from tests.service import Caller, Service
from tests.sockets import BODY, HOUSING, JSON, Answer, address, good, got, posted, raw, read, send
from tests.sockets import line as connected

Request = Callable[[Caller], bytes]
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKS = b"1a\r\n" + BODY + b"\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    """Sign in for the whole table; afterwards every record is audited, and none is there that was not answered."""
    with service.caller("demo") as caller:
        before = len(caller.find(model="housing"))
        yield caller
        caller.sign_in()
        assert len(caller.find(model="housing")) - before == len(caller.seen)
    assert auditor.audit(service.database_url, caller.seen) == []


def case(*headers: str, host: str | None = "", body: bytes = BODY, **more: str) -> Request:
    """Write a POST whose headers are these and no others."""
    return lambda caller: raw(caller, *headers, host=host, body=body, **more)


def many(count: int) -> list[str]:
    """Make up headers."""
    return [f"X-{number}: y" for number in range(count)]


FRAMING: dict[str, tuple[Request, str]] = {
    "chunks": (case(JSON, "Transfer-Encoding: chunked", body=CHUNKS), "length-required"),
    "chunks, in capitals": (case(JSON, "Transfer-Encoding: CHUNKED", body=CHUNKS), "length-required"),
    "coded chunks": (case(JSON, "Transfer-Encoding: gzip, chunked", body=CHUNKS), "bad-request"),
    "chunks twice": (case(JSON, *["Transfer-Encoding: chunked"] * 2, body=CHUNKS), "bad-request"),
    "a coding that is none": (case(JSON, "Transfer-Encoding: identity"), "bad-request"),
    "a coding of blanks": (case(JSON, "Transfer-Encoding: \x0bchunked", body=CHUNKS), "bad-request"),
    "length and chunks": (case(JSON, LENGTH, "Transfer-Encoding: chunked", body=CHUNKS), "bad-request"),
    "chunks and length": (case(JSON, "Transfer-Encoding: chunked", LENGTH, body=CHUNKS), "bad-request"),
    "a length of letters": (case(JSON, "Content-Length: abc"), "bad-request"),
    "a length with a sign": (case(JSON, "Content-Length: +26"), "bad-request"),
    "a negative length": (case(JSON, "Content-Length: -1"), "bad-request"),
    "a length in hexadecimal": (case(JSON, "Content-Length: 0x1a"), "bad-request"),
    "a list of lengths": (case(JSON, "Content-Length: 26, 26"), "bad-request"),
    "two lengths": (case(JSON, LENGTH, "Content-Length: 27"), "bad-request"),
    "the same length twice": (case(JSON, LENGTH, LENGTH), "bad-request"),
    "a length of 20 digits": (case(JSON, "Content-Length: 99999999999999999999"), "bad-request"),
    "a terabyte announced": (case(JSON, "Content-Length: 1000000000000"), "too-large"),
    "a byte too many announced": (case(JSON, f"Content-Length: {(8 << 20) + 1}"), "too-large"),
    "no length": (case(JSON, body=b""), "length-required"),
    "a folded header": (case(JSON, "A: b\r\n c", LENGTH), "bad-request"),
    "a blank before the colon": (case(JSON, "A : b", LENGTH), "bad-request"),
    "a header without a name": (case(JSON, ": b", LENGTH), "bad-request"),
    "a header without a colon": (case(JSON, "nothing", LENGTH), "bad-request"),
    "NUL in a header": (case(JSON, "A: b\x00c", LENGTH), "bad-request"),
    "HTTP/9.9": (case(JSON, LENGTH, line=f"POST {HOUSING} HTTP/9.9"), "bad-request"),
    "HTTP/2.0": (case(JSON, LENGTH, line=f"POST {HOUSING} HTTP/2.0"), "bad-request"),
    "no version": (case(JSON, LENGTH, line=f"POST {HOUSING}"), "bad-request"),
    "another protocol": (lambda _: b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", "not-implemented"),
    "line feeds alone": (lambda caller: posted(caller, BODY).replace(b"\r\n", b"\n"), "bad-request"),
    "two Authorization": (lambda caller: posted(caller, BODY, JSON, "Authorization: Bearer x"), "bad-request"),
    "two Content-Type": (lambda caller: posted(caller, BODY, JSON, "Content-Type: text/plain"), "bad-request"),
    "two Content-Encoding": (
        lambda caller: posted(caller, BODY, JSON, "Content-Encoding: identity", "Content-Encoding: gzip"), "bad-request"
    ),
    "101 headers": (lambda caller: posted(caller, BODY, JSON, *many(98)), "headers-too-large"),
    "10,000 headers": (lambda caller: posted(caller, BODY, JSON, *many(10_000)), "headers-too-large"),
    "a header of 100 kB": (lambda caller: posted(caller, BODY, JSON, "X: " + "y" * 100_000), "headers-too-large"),
    "a header of 10 MB": (lambda caller: posted(caller, BODY, JSON, "X: " + "y" * 10_000_000), "headers-too-large"),
    "an unknown expectation": (case(JSON, LENGTH, "Expect: the-unexpected"), "expectation-failed"),
}  # fmt: skip

HOSTS = {
    "none": (None, ()),
    "two": ("", ("Host: localhost",)),
    "two, both right": ("", ("Host: {}",)),
    "a stranger's": ("evil.example", ()),
    "a part of ours": ("localhost.evil.example", ()),
    "with a user": ("a@localhost", ()),
    "with a path": ("localhost/../x", ()),
    "with port 99999": ("localhost:99999", ()),
    "with port 0": ("localhost:0", ()),
    "with a port of letters": ("localhost:http", ()),
    "with two ports": ("localhost:80:80", ()),
    "with a blank": ("local host", ()),
    "with a comma": ("localhost,evil.example", ()),
    "only a colon": (":", ()),
    "not ASCII": ("l\xf6calhost", ()),
}
TARGETS = {
    "of another host": ("http://evil.example/v1/models", "bad-request"),
    "of ours with a user": ("http://u:p@{}/v1/models", "bad-request"),
    "of another scheme": ("ftp://{}/v1/models", "bad-request"),
    "a name and a port": ("evil.example:443", "bad-request"),
    "*": ("*", "bad-request"),
    "nothing": ("", "bad-request"),
    "relative": ("v1/models", "bad-request"),
    "100 kB": ("/v1/models/" + "a" * 100_000, "uri-too-long"),
    "10 MB": ("/v1/models/" + "a" * 10_000_000, "uri-too-long"),
    "9 kB of query": ("/v1/predictions?label=" + "a" * 9_000, "uri-too-long"),
    "NUL": ("/v1/models/%00", "bad-request"),
    "a line feed": ("/v1/models/housing%0A", "bad-request"),
    "a line feed and a header": ("/v1/models/x%0D%0ASet-Cookie:a=b", "bad-request"),
    "DEL": ("/v1/models/%7F", "bad-request"),
    "bytes that are not UTF-8": ("/v1/models/%FF", "bad-request"),
    "an overlong slash": ("/v1/models/%C0%AF", "bad-request"),
    "an escape of another kind": ("/v1/models/%u0041", "bad-request"),
    "half an escape": ("/v1/models/%4", "bad-request"),
    "a raw byte": ("/v1/models/\xff", "bad-request"),
    "a raw blank": ("/v1/models/a b", "bad-request"),
    "an escaped slash": ("/v1/models/..%2F..%2Fetc", "not-found"),
    "an escaped slash, in small letters": ("/v1%2fmodels", "not-found"),
    "escaped dots": ("/v1/%2e%2e/v1/models", "not-found"),
    "dots": ("/v1/../v1/models", "not-found"),
    "dots at the end": ("/v1/models/..", "not-found"),
    "one dot": ("/v1/./models", "not-found"),
    "two slashes": ("/v1//models", "not-found"),
    "two slashes and a host": ("//evil.example/v1/models", "not-found"),
    "a slash at the end": ("/v1/models/", "not-found"),
    "a parameter of a segment": ("/v1/models;a=b", "not-found"),
    "a backslash": ("/v1\\models", "not-found"),
    "a suffix": ("/v1/models.json", "not-found"),
    "capitals": ("/V1/MODELS", "not-found"),
    "a name in capitals": ("/v1/models/HOUSING", "validation"),
    "a name with an umlaut": ("/v1/models/h%C3%B6using", "validation"),
    "a page's asset above its folder": ("/static/..%2f..%2fsettings.py", "not-found"),
    "two slashes of a page": ("/problems//validation", "not-found"),
    "a slash after a page": ("/docs/", "not-found"),
}  # fmt: skip
METHODS = {
    "TRACE": "method-not-allowed",
    "DELETE": "method-not-allowed",
    "PATCH": "method-not-allowed",
    "PURGE": "not-implemented",
    "PROPFIND": "method-not-allowed",
    "QUERY": "method-not-allowed",
    "M-SEARCH": "not-implemented",
    "FOO": "not-implemented",
    "get": "not-implemented",
    "GE\x00T": "not-implemented",
    "PRI": "bad-request",
}


def _refused(answer: Answer, slug: str) -> None:
    assert (answer.status, answer.type) == (PROBLEMS[slug].status, slug), answer
    answer.is_sound(secret=BODY)


@pytest.mark.parametrize("name", FRAMING)
def test_a_request_that_can_be_read_in_two_ways_is_refused(caller: Caller, name: str) -> None:
    """Lengths, chunks, lines, sizes: each ambiguity is refused under its name and the next request works."""
    request, slug = FRAMING[name]

    _refused(send(caller, request(caller)), slug)

    good(caller)


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_is_not_ours_is_refused(caller: Caller, name: str) -> None:
    """A missing, doubled, strange or malformed Host is 400, also where the address needs no token."""
    host, more = HOSTS[name]
    more = tuple(each.format(address(caller)) for each in more)

    for path in ("/v1/models", "/health/live", "/docs", "/"):
        _refused(send(caller, raw(caller, *more, line=f"GET {path} HTTP/1.1", host=host)), "bad-request")

    good(caller)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]", "[::1]:80", "{}"])
def test_a_host_that_is_ours_is_served(caller: Caller, host: str) -> None:
    """Loopback names in any spelling and with any port, and the address in ONRECORD_PUBLIC_URL."""
    request = raw(caller, line="GET /v1/models HTTP/1.1", host=host.format(address(caller)))

    assert send(caller, request).status == 200


@pytest.mark.parametrize("name", TARGETS)
def test_an_address_that_nobody_should_ask_for_leads_nowhere(caller: Caller, name: str) -> None:
    """Odd targets are 400, 404 or 414, never a redirect and never another resource."""
    target, slug = TARGETS[name]

    answer = send(caller, got(caller, target.format(address(caller)) if "{" in target else target))

    _refused(answer, slug)
    assert "Location" not in answer.headers
    good(caller)


def test_a_target_may_be_a_whole_url(caller: Caller) -> None:
    """`GET http://host/path` is what RFC 9112 (3.2.2) says servers must accept; an escaped letter is that letter."""
    assert send(caller, got(caller, f"http://{address(caller)}/v1/models")).status == 200
    assert send(caller, got(caller, f"HTTP://{address(caller)}/v1/%6dodels")).status == 200


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_nothing_here_has_is_refused(caller: Caller, name: str) -> None:
    """Known methods are 405 with all that the address offers, others 501."""
    for path in ("/v1/models", "/"):
        answer = send(caller, got(caller, path, method=name))

        _refused(answer, METHODS[name])
        if answer.status == 405:
            assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_there_is_no_tunnel(caller: Caller) -> None:
    """CONNECT is 405, and what follows it is not read."""
    with connected(caller) as connection:
        connection.sendall(raw(caller, line="CONNECT localhost:443 HTTP/1.1") + got(caller, "/v1/models"))

        _refused(read(connection), "method-not-allowed")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("target", ["*", "/v1/models", HOUSING, "/", "/docs"])
def test_options_are_told_to_everybody(caller: Caller, target: str) -> None:
    """OPTIONS is 204 with Allow, without a token, without a word about other origins."""
    answer = send(
        caller,
        f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n".encode(),
    )

    assert (answer.status, answer.body) == (204, b"")
    assert "OPTIONS" in answer.headers["Allow"]
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "header",
    ["X-HTTP-Method-Override: DELETE", "X-HTTP-Method: PUT", "X-Method-Override: POST", "X-Original-URL: /v1/records",
     "X-Rewrite-URL: /admin", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
     "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
)  # fmt: skip
def test_headers_that_would_change_the_request_are_ignored(caller: Caller, header: str) -> None:
    """An override or an upgrade changes nothing, on this request and on the next one of the connection."""
    with connected(caller) as connection:
        for path in ("/v1/models", "/health/live"):
            connection.sendall(got(caller, path, header))
            assert read(connection).status == 200


def test_what_a_stranger_says_of_proxies_reaches_no_answer(caller: Caller) -> None:
    """Addresses in answers come from the settings, never from Host, Forwarded or X-Forwarded headers."""
    lies = [f"X-Forwarded-{name}: evil.example" for name in ("Host", "Prefix", "Server", "For")]
    lies += ["Forwarded: host=evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1"]

    for path in ("/.well-known/oauth-authorization-server", "/openapi.json", "/", "/docs", "/nowhere"):
        answer = send(caller, got(caller, path, *lies))
        assert b"evil" not in bytes(answer.headers) + answer.body
    made = send(caller, posted(caller, BODY, JSON, *lies))
    assert made.headers["Location"].startswith("/v1/records/")
    caller.seen[made.headers["Location"].rsplit("/", 1)[1]] = made.body
