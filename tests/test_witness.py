"""The witness: what C2SP tlog-witness says, to the status; and two histories of one log are never both cosigned."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.notes import NoteRefused, Signer, attach, cosign, open_checkpoint
from db.submissions import MAX_SUBMISSION, Submission
from db.tree import EMPTY_ROOT
from tests.tampering import signed_by_another
from tests.witnesses import PRIVATE, Log, Process, witnessing

NAME = "witness.test/1"
NUMBERS = count()
NOW_S = 1_795_176_000
ORIGINS = [f"log.test/{number}" for number in range(40)]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Run one witness of many logs."""
    folder = tmp_path_factory.mktemp("witness")
    keys = folder / "logs"
    keys.write_text("".join(f"{Log(origin).signer.key()}\n" for origin in ORIGINS))
    with witnessing(folder / "own", str(keys), name=NAME) as running:
        yield running


@pytest.fixture
def log() -> Log:
    """Begin a log that the witness knows and has not seen."""
    return Log(ORIGINS[next(NUMBERS)])


def answer(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.headers["content-type"].partition(";")[0]


def test_a_log_that_grows_is_cosigned(process: Process, log: Log) -> None:
    """From nothing, by proof from size to size, and once more: each time 200 and a true cosignature."""
    for old, size in ((0, 3), (3, 7), (7, 7), (7, 300)):
        cosigned = process.add(log.submission(old, size))

        assert cosigned.status_code == 200, cosigned.text
        note = attach(log.note(size), [cosigned.content])
        assert len(open_checkpoint(note, log.signer.key(), [process.key]).seen_at_s) == 1
    shown = process.seen(log.origin)
    assert open_checkpoint(shown.content, log.signer.key(), [process.key]).checkpoint.size == 300


def test_a_log_may_begin_with_nothing(process: Process, log: Log) -> None:
    """The empty tree has one root: that is cosigned, and no other of that size."""
    lying = Log(log.origin)
    wrong = Submission(old=0, hashes=(), note=_signed(lying, 0, bytes(32))).encode()

    assert answer(process.add(wrong))[0] == 422
    assert process.add(log.submission(0, 0)).status_code == 200
    assert process.add(wrong).status_code == 409
    assert process.add(log.submission(0, 5)).status_code == 200


def test_another_size_is_answered_with_the_right_one(process: Process, log: Log) -> None:
    """409 has the size of the newest cosigned checkpoint as its body, of the type that the protocol names."""
    assert process.add(log.submission(3, 5)).status_code == 409
    process.add(log.submission(0, 5))
    for old, size in ((0, 8), (3, 5), (7, 8)):
        told = process.add(log.submission(old, size))

        assert (answer(told), told.text) == ((409, "text/x.tlog.size"), "5\n")


def test_a_fork_is_refused(process: Process, log: Log) -> None:
    """Another history gets 422 at a larger size, 409 at the same; nothing is cosigned, and nothing is forgotten."""
    process.add(log.submission(0, 5))
    fork = Log(log.origin, "forked", 3)

    assert answer(process.add(fork.submission(5, 9)))[0] == 422
    assert (process.add(fork.submission(5, 5)).status_code, process.add(fork.submission(5, 5)).text) == (
        409,
        "5\n",
    )
    assert process.add(log.submission(5, 9)).status_code == 200


@pytest.mark.parametrize("change", ["missing", "extra", "other", "for nothing"])
def test_a_proof_that_does_not_lead_there_is_refused(process: Process, log: Log, change: str) -> None:
    """422, and the next honest submission goes on from where the witness was."""
    start = 0 if change == "for nothing" else 3
    if start:
        process.add(log.submission(0, start))
    hashes = list(log.proof(3, 9))
    wrong = {"missing": hashes[:-1], "extra": [*hashes, hashes[0]], "other": [bytes(32), *hashes[1:]]}.get(
        change, hashes
    )

    refused = process.add(Submission(old=start, hashes=tuple(wrong), note=log.note(9)).encode())

    assert answer(refused) == (422, "text/plain")
    assert process.add(log.submission(start, 9)).status_code == 200


def test_whoever_is_not_known_is_told_so(process: Process, log: Log) -> None:
    """404 for an origin without a key, 403 where none of its keys has signed; neither is remembered."""
    stranger = Log("log.test/stranger")
    forged = signed_by_another(log.origin, 3, bytes(32))

    assert process.add(stranger.submission(0, 3)).status_code == 404
    assert process.add(Submission(old=0, hashes=(), note=forged).encode()).status_code == 403
    assert process.seen(stranger.origin).status_code == 404
    assert process.seen(log.origin).status_code == 404


def test_signatures_of_strangers_do_no_harm(process: Process, log: Log) -> None:
    """A note that others have cosigned is taken, and only the log's signature and our own are shown."""
    other = Signer(name="witness.test/other", private=PRIVATE)
    note = attach(log.note(3), [cosign(log.note(3), other, NOW_S)])

    assert process.add(Submission(old=0, hashes=(), note=note).encode()).status_code == 200
    assert b"other" not in process.seen(log.origin).content


def _signed(log: Log, size: int, root: bytes = EMPTY_ROOT) -> bytes:
    from db.notes import Checkpoint, sign

    return sign(Checkpoint(origin=log.origin, size=size, root=root).text(), log.signer)


def _malformed() -> dict[str, bytes]:
    log = Log(ORIGINS[-1])
    good = log.submission(3, 9)
    return {
        "nothing": b"",
        "a note alone": log.note(3),
        "no size": good.replace(b"old 3", b"old "),
        "a leading zero": good.replace(b"old 3", b"old 03"),
        "a sign": good.replace(b"old 3", b"old +3"),
        "two spaces": good.replace(b"old 3", b"old  3"),
        "a carriage return": good.replace(b"\n", b"\r\n"),
        "no empty line": good.replace(b"\n\n", b"\n", 1),
        "no last newline": good[:-1],
        "a hash too short": good.replace(b"\n", b"\nAAAA\n", 1),
        "64 hashes": Submission(old=3, hashes=(bytes(32),) * 64, note=log.note(9)).encode(),
        "larger than the checkpoint": Submission(old=9, hashes=(), note=log.note(3)).encode(),
        "beyond 2**63": good.replace(b"old 3", b"old 9223372036854775808"),
        "bytes": bytes(range(256)),
    }


@pytest.mark.parametrize("data", _malformed().values(), ids=_malformed())
def test_what_is_malformed_is_refused(process: Process, data: bytes) -> None:
    """400 and a line that says why; the witness goes on."""
    refused = process.add(data)

    assert (refused.status_code, refused.text.count("\n")) == (400, 1)


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda rest: b"old 0\n\n" + rest))
def test_whatever_is_submitted_is_read_or_refused(data: bytes) -> None:
    """The parser raises nothing else, and what it reads it writes again to the byte."""
    with contextlib.suppress(NoteRefused):
        assert Submission.parse(data).encode() == data


def test_what_is_too_large_is_not_read(process: Process) -> None:
    """413, however large it says it will be."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 16)

    assert process.add(bytes(MAX_SUBMISSION + 1)).status_code == 413
    with contextlib.suppress(httpx.WriteError):  # it may hang up while we are still sending, which is as good
        assert httpx.post(f"{process.url}/add-checkpoint", content=endless(), timeout=30).status_code == 413


def test_wrong_ways_are_refused(process: Process) -> None:
    """Other paths and methods are no fault of the witness."""
    assert httpx.get(f"{process.url}/add-checkpoint").status_code == 405
    assert httpx.post(f"{process.url}/checkpoint").status_code == 405
    assert httpx.get(f"{process.url}/").status_code == 404
    with socket.create_connection(("127.0.0.1", int(process.url.rpartition(":")[2])), 30) as raw:
        raw.sendall(b"\x00\xff garbage\r\n\r\n")
        assert b" 400 " in raw.recv(100)


def test_of_two_forks_at_once_one_is_cosigned(process: Process) -> None:
    """Whatever comes at the same moment: exactly one history gets a cosignature."""
    with ThreadPoolExecutor(8) as pool:
        for origin in ORIGINS[20:30]:
            forks = [Log(origin, f"branch {number}") for number in range(8)]
            gate = threading.Barrier(8)

            def submit(fork: Log, gate: threading.Barrier = gate) -> int:
                data = fork.submission(0, 4)
                gate.wait(30)
                return process.add(data).status_code

            assert sorted(pool.map(submit, forks)) == [200] + [409] * 7
