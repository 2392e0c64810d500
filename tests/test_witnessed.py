"""A service with witnesses: cosigned receipts, and no witness that fails delays or silences anything else."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db.notes import COSIGNATURE, Signer
from tests import auditor
from tests.engines import wait_for
from tests.service import Caller, Service, free_port
from tests.witnesses import Process, witnessing

AGE = {"age": 50}
SOON_S = 60.0


def key_of(name: str) -> str:
    """Make the key of a witness that will never use it."""
    signer = Signer(name=name, private=Ed25519PrivateKey.generate())
    return str(signer.key(COSIGNATURE))


@contextlib.contextmanager
def pretending(status: int, body: bytes, kind: str = "text/plain") -> Iterator[str]:
    """Answer everything with this, as no witness should; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Take connections and never say a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def ready(service: Service) -> dict[str, Any]:
    """Ask for readiness, whatever the status."""
    return dict(httpx.get(f"{service.url}/health/ready", timeout=10).json())


def receipt_of(caller: Caller, record: str) -> dict[str, Any]:
    """Get a record's receipt as JSON; empty until a checkpoint covers it."""
    found = caller.http.get(f"/v1/records/{record}/receipt")
    return dict(found.json()) if found.status_code == 200 else {}


def is_cosigned(caller: Caller, record: str, name: str) -> Callable[[], bool]:
    """Say whether the receipt has a line of this witness."""
    return lambda: f"\N{EM DASH} {name} " in receipt_of(caller, record).get("proof", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """Set a deployment up that is not started yet."""
    url = request.getfixturevalue("postgres").new_database() if request.param == "postgresql" else None
    folder = short_folder / f"w{time.monotonic_ns() % 1_000_000}"
    folder.mkdir()
    made = Service(folder, url, ONRECORD_WITNESS_EVERY_S="1").set_up()
    yield made
    made.kill()


@pytest.fixture
def witness(service: Service, tmp_path: Path) -> Iterator[Process]:
    """Run the witness of this deployment; the witness is not told where it is, only its key."""
    with witnessing(tmp_path / "own", str(service.var / "ledger.pub"), name="witness.test/good") as running:
        yield running


def test_later_receipts_carry_cosignatures(service: Service, witness: Process, tmp_path: Path) -> None:
    """Receipt and checkpoint are cosigned, offline checks say when, and verify takes the witness as an anchor."""
    service.environment["ONRECORD_WITNESSES"] = witness.entry
    service.start()
    with service.caller() as caller:
        record = caller.predict("housing", AGE).json()["record"]
        wait_for(is_cosigned(caller, record, "witness.test/good"), SOON_S)
        (tmp_path / "receipt.json").write_text(json.dumps(receipt_of(caller, record)))
        checkpoint = caller.http.get("/v1/ledger/checkpoint").text
        wait_for(lambda: ready(service).get("witnesses") == {"witness.test/good": "ok"}, SOON_S)
        seen = dict(caller.seen)
    with service.caller("admin") as admin:
        known = admin.http.get("/v1/ledger/anchors").json()["witnesses"]
    held = ["receipt", str(tmp_path / "receipt.json"), "--key", str(service.var / "ledger.pub")]
    checked = service.command(*held, "--witness", str(witness.key))
    unseen = service.command(*held, "--witness", key_of("witness.test/other"), check=False)
    (service.var / "anchor.log").unlink()
    verified = service.command("verify", check=False)

    assert [(each["name"], each["agrees"], each["size"] > 0) for each in known] == [
        ("witness.test/good", True, True)
    ]
    assert known[0]["at"].startswith("20")
    assert "witness     witness.test/good saw this checkpoint at 20" in checked.stdout
    assert (unseen.returncode, "not cosigned by witness.test/other" in unseen.stdout) == (3, True)
    assert (checkpoint.count("witness.test/good") <= 1, verified.returncode) == (True, 0), verified
    assert "stored checkpoints by witness.test/good, the largest of" in verified.stdout
    assert "witness     witness.test/good saw " in verified.stdout
    assert auditor.audit(service.database_url, seen) == []


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)  # what a witness does reaches no database
def test_witnesses_that_fail_are_named_and_delay_nobody(service: Service, witness: Process) -> None:
    """C15: down, silent, lying, babbling: answers and the good witness go on, and health says which is which."""
    with contextlib.ExitStack() as stack:
        urls = {
            "down": f"http://127.0.0.1:{free_port()}",
            "slow": stack.enter_context(silent()),
            "liar": stack.enter_context(pretending(409, b"999999\n", "text/x.tlog.size")),
            "babbler": stack.enter_context(pretending(200, b"\xff nonsense\n" * 9)),
            "endless": stack.enter_context(pretending(200, b"x" * 200_000)),
        }
        entries = [f"{url}={key_of(f'witness.test/{name}')}" for name, url in urls.items()]
        listed = service.var / "witnesses"
        listed.write_text("\n".join([*entries, witness.entry]) + "\n")
        service.environment["ONRECORD_WITNESSES"] = str(listed)
        service.start()
        with service.caller() as caller:
            wait_for(lambda: _said(service).get("witness.test/slow", "").startswith("does not"), SOON_S)
            record = caller.predict("housing", AGE).json()["record"]
            wait_for(is_cosigned(caller, record, "witness.test/good"), SOON_S)
            usual = median(_timed(caller) for _ in range(30))
        said = _said(service)
        state = httpx.get(f"{service.url}/health/ready", timeout=10)

    assert state.status_code == 200
    assert usual < 5.0  # what one answer of a witness may take: nobody has waited for any
    assert said["witness.test/good"] == "ok"
    assert "cannot be reached" in said["witness.test/down"]
    assert "does not answer within 5 s" in said["witness.test/slow"]
    assert (
        "says that it cosigned 999999 records of this ledger, and shows no proof" in said["witness.test/liar"]
    )
    assert "without a true signature" in said["witness.test/babbler"]
    assert "more than" in said["witness.test/endless"]
    for name in ("down", "slow", "liar", "babbler", "endless"):
        assert f'"witness":"witness.test/{name}"' in service.log()


def _said(service: Service) -> dict[str, str]:
    return dict(ready(service).get("witnesses", {}))


def _timed(caller: Caller) -> float:
    started = time.monotonic()
    assert caller.predict("housing", AGE).status_code == 201
    return time.monotonic() - started


def test_a_ledger_that_its_witness_outgrew_stops(short_folder: Path, tmp_path: Path) -> None:
    """A backup restored together with its anchor starts, and stops as soon as the witness shows what is missing."""
    folder = short_folder / f"w{time.monotonic_ns() % 1_000_000}"
    folder.mkdir()
    service = Service(folder, ONRECORD_WITNESS_EVERY_S="1").set_up()
    with witnessing(tmp_path / "own", str(folder / "ledger.pub"), name="witness.test/good") as witness:
        service.environment["ONRECORD_WITNESSES"] = witness.entry
        try:
            kept = tmp_path / "kept"
            shutil.copytree(folder, kept)
            service.start()
            with service.caller() as caller:
                record = caller.predict("housing", AGE).json()["record"]
                wait_for(is_cosigned(caller, record, "witness.test/good"), SOON_S)
            service.stop()
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            service.spawn("serve")
            wait_for(lambda: "stopped" in _ledger(service), SOON_S)
            with service.caller() as caller:
                refused = caller.predict("housing", AGE)
            verified = service.command("verify", check=False)
        finally:
            service.kill()

    assert refused.status_code == 503
    assert "witness.test/good has a checkpoint of ours that knows" in service.log()
    assert (
        verified.returncode,
        "the checkpoint from witness witness.test/good is of" in verified.stdout,
    ) == (1, True)


def _ledger(service: Service) -> str:
    with contextlib.suppress(httpx.HTTPError):
        return str(ready(service)["checks"]["ledger"])
    return ""


@pytest.mark.parametrize(
    "wrong",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1=nonsense",
        f"ftp://127.0.0.1={key_of('w.test/1')}",
        f"http://127.0.0.1:1?x={key_of('w.test/1')}",
        "no-such-file",
        f"http://127.0.0.1:1={Signer(name='a.test', private=Ed25519PrivateKey.generate()).key()}",
    ],
    ids=["no key", "a key that is none", "no address", "an address with a query", "no file", "a log's key"],
)
def test_a_witness_that_is_configured_wrongly_is_named(tmp_path: Path, wrong: str) -> None:
    """The refusal shows the one entry that is wrong among good ones, and what would be right."""
    service = Service(tmp_path)
    good = f"http://127.0.0.1:2={key_of('w.test/2')}"
    service.environment["ONRECORD_WITNESSES"] = wrong if wrong == "no-such-file" else f"{good} {wrong}"

    refused = service.command("verify", check=False)

    assert (refused.returncode, good in refused.stderr) == (2, False)
    assert f"ONRECORD_WITNESSES='{wrong}'" in refused.stderr
