"""`python -m api receipt` and the header's grammar: bytes and a pinned key decide, and nothing else is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from api import receipts
from api.__main__ import main
from api.calls import Call, Claims
from api.ledger import Ledger
from api.problems import RequestRefused
from api.receipts import HEADER, ReceiptUnreadable
from db.notes import Checkpoint, Signer, VerifierKey
from db.proofs import NotProvable
from db.records import Kind, Receipt, Record, leaf, salts
from db.tree import Frontier, inclusion_proof, leaf_hash
from tests import holder
from tests.service import ROOT

SIGNER = Signer(name="onrecord.local/5f0c9a1e", private=Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEY = str(SIGNER.key())
STRANGER = str(Signer(name=SIGNER.name, private=Ed25519PrivateKey.generate()).key())
SENT, ANSWERED = b'{"instances":[{"age":50}]}', b'{"predictions":[{"price":24.9}]}'
SECRET = b"\x07" * 32
RECORD = Record(
    id=UUID("0192f0c1-7c1e-7000-8000-000000000000"),
    kind=Kind.PREDICTION,
    observed_at_us=1_795_176_000_000_000,
    client_id="demo",
    status=201,
    input=SENT,
    output=ANSWERED,
    actor=b"{}",
    meta=b"{}",
)


def _receipt(index: int = 5, size: int = 12, **changed: Any) -> Receipt:
    proven = leaf(RECORD, SECRET)
    leaves = [leaf_hash(proven if at == index else str(at).encode()) for at in range(size)]
    growth = Frontier().append(leaves)
    root = growth.after.root()
    opened = salts(SECRET)
    values: dict[str, Any] = {
        "index": index,
        "size": size,
        "root": root,
        "leaf": proven,
        "salts": {name: opened[name] for name in ("input", "output")},
        "hashes": tuple(inclusion_proof(index, size, growth.node)),
        "signature": SIGNER.private.sign(Checkpoint(origin=SIGNER.name, size=size, root=root).text()),
        "key_id": f"{SIGNER.name}+{SIGNER.key().id.hex()}",
    }
    return Receipt(**(values | changed))


def _saved(receipt: Receipt) -> bytes:
    return f"HTTP/1.1 201 Created\r\n{HEADER.lower()}: {receipts.header(receipt)}\r\n\r\n".encode()


def _as_json(receipt: Receipt, **changed: Any) -> bytes:
    content = {
        "record": str(RECORD.id),
        "index": receipt.index,
        "leaf": b64encode(receipt.leaf).decode(),
        "salts": {name: b64encode(salt).decode() for name, salt in receipt.salts.items()},
        "proof": receipts.proof(receipt).decode(),
    }
    return json.dumps(content | changed).encode()


def _files(folder: Path, saved: bytes, key: str = KEY, **contents: bytes) -> list[str]:
    """Save what a caller has, and return the arguments that name it."""
    arguments = ["receipt", str(folder / "saved"), "--key", str(folder / "ledger.pub")]
    (folder / "saved").write_bytes(saved)
    (folder / "ledger.pub").write_text(f"{key}\n")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        arguments += [f"--{name}", str(folder / name)]
    return arguments


@pytest.mark.parametrize("saved", [_saved(_receipt()), _as_json(_receipt())], ids=["headers", "json"])
def test_a_receipt_that_holds_says_what_was_checked(tmp_path: Path, saved: bytes) -> None:
    """Exit 0 and a line for each check, in an empty folder where neither database nor `var` exists."""
    arguments = _files(tmp_path, saved, input=SENT, output=ANSWERED)
    nowhere = {"PYTHONPATH": str(ROOT), "DATABASE_URL": "sqlite:////nowhere/x", "ONRECORD_VAR": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        cwd=tmp_path,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "checkpoint  signed by onrecord.local/5f0c9a1e with the pinned key: 12 records",
        f"record      {RECORD.id} is number 5 of them: prediction, 201, 2026-11-20T12:00:00.000000Z",
        "request     these 26 bytes are those on record",
        "answer      these 32 bytes are those on record",
        "the receipt holds",
    ]
    without = CliRunner().invoke(main, _files(tmp_path, saved, output=ANSWERED))
    assert (without.exit_code, done.stderr) == (0, "")
    assert "request     not compared: give its exact bytes with --input" in without.stdout


FALSE = {
    "another key": (_saved(_receipt()), {"key": STRANGER}, "checkpoint"),
    "another ledger": (_saved(_receipt(key_id="onrecord.local/ffffffff+00000000")), {}, "checkpoint"),
    "a false signature": (_saved(_receipt(signature=bytes(64))), {}, "checkpoint"),
    "a short signature": (_saved(_receipt(signature=b"1")), {}, "checkpoint"),
    "another place": (_saved(replace(_receipt(), index=6)), {}, "leaf"),
    "a place beyond": (_saved(replace(_receipt(), index=12)), {}, "leaf"),
    "another leaf": (_saved(_receipt(leaf=leaf(RECORD, bytes(32)))), {}, "leaf"),
    "a leaf of nothing": (_saved(_receipt(leaf=b"")), {}, "leaf"),
    "no path": (_saved(_receipt(hashes=())), {}, "leaf"),
    "another salt": (_saved(_receipt(salts={"input": bytes(32), "output": bytes(32)})), {"input": SENT}, "request"),
    "another record": (_as_json(_receipt(), record="0192f0c1-7c1e-7000-8000-000000000001"), {}, "record"),
    "another index": (_as_json(_receipt(), index=4), {}, "index"),
    "another request": (_saved(_receipt()), {"input": SENT + b" "}, "request"),
    "another answer": (_saved(_receipt()), {"input": SENT, "output": b""}, "answer"),
}  # fmt: skip


@pytest.mark.parametrize(("saved", "given", "named"), FALSE.values(), ids=FALSE.keys())
def test_the_first_thing_that_does_not_match_is_named(
    tmp_path: Path, saved: bytes, given: dict[str, Any], named: str
) -> None:
    """R4, R6, R7: exit 1, and the last line says what is false; nothing behind it is called good."""
    done = CliRunner().invoke(main, _files(tmp_path, saved, **given))

    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith("FALSE ")
    assert named in done.stdout.splitlines()[-1]
    assert "the receipt holds" not in done.stdout


UNREADABLE = {
    "nothing": (b"", KEY),
    "no text": (b"\xff\xfe", KEY),
    "no receipt": (b"HTTP/1.1 200 OK\r\n\r\n", KEY),
    "two receipts": (_saved(_receipt()) * 2, KEY),
    "half a header": (_saved(_receipt())[:-40], KEY),
    "half a json": (_as_json(_receipt())[:-40], KEY),
    "a json of something else": (b'{"record":1}', KEY),
    "no index": (_as_json(_receipt(), index="5"), KEY),
    "no proof": (_as_json(_receipt(), proof="c2sp.org/tlog-proof@v2\n"), KEY),
    "half a character": (_as_json(_receipt(), proof="\ud800"), KEY),
    "no root": (_saved(_receipt(root=b"")), KEY),
    "no signature": (_saved(_receipt(signature=b"")), KEY),
    "no key": (_saved(_receipt()), "onrecord.local"),
    "a key with another id": (_saved(_receipt()), KEY.replace("+", "+0", 1)),
}


@pytest.mark.parametrize(("saved", "key"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_refused(tmp_path: Path, saved: bytes, key: str) -> None:
    """Exit 2 and one line, never a trace; that is no verdict on the ledger."""
    done = CliRunner().invoke(main, _files(tmp_path, saved, key))

    assert done.exit_code == 2, done.stdout
    assert done.stderr.startswith("refused: ")
    assert len(done.stderr.splitlines()) == 1
    assert "the receipt holds" not in done.stdout


@given(st.integers(1, 300), st.data())
def test_a_header_is_read_as_it_was_written(size: int, data: st.DataObject) -> None:
    """Whatever place in whatever tree: written, read, written again, and accepted by a reader who knows only RFCs."""
    receipt = _receipt(data.draw(st.integers(0, size - 1)), size)
    written = receipts.header(receipt)

    assert receipts.read(written) == receipt
    assert receipts.read(written.replace(", ", " ,\t") + ', later="a, b"') == receipt
    assert written.isascii()
    assert written.isprintable()
    assert holder.check(holder.of_header(written), KEY, SENT, ANSWERED) == RECORD.id


GOOD = receipts.header(_receipt())
SPELLINGS = {
    "twice": f"{GOOD}, index=5",
    "a comma too many": f"{GOOD},",
    "a number with a zero in front": GOOD.replace("index=5", "index=05"),
    "a number below zero": GOOD.replace("index=5", "index=-5"),
    "a number of 16 digits": GOOD.replace("index=5", "index=1000000000000000"),
    "a number as text": GOOD.replace("index=5", 'index="5"'),
    "text as bytes": GOOD.replace('key="', "key=:").replace('", sig', ":, sig"),
    "a parameter": GOOD.replace("index=5", "index=5;a=1"),
    "unpadded": GOOD.replace("=:,", ":,", 1),
    "spare bits": GOOD.replace("sig=:" + GOOD.partition("sig=:")[2], "sig=:YR==:"),
    "half a hash": GOOD.replace("proof=:", "proof=:YWFh", 1),
    "a line end": f"{GOOD}\n",
    "too long": f"{GOOD}, later=:{'A' * 8192}:",
    **{
        f"no {name}": GOOD.replace(f"{name}=", f"{name}x=", 1)
        for name in ("index", "root", "salt-input", "sig")
    },
}


@pytest.mark.parametrize("header", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_header_has_one_meaning(header: str) -> None:
    """What two readers could understand differently is refused."""
    assert header != GOOD
    with pytest.raises(ReceiptUnreadable):
        receipts.read(header)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_refused_and_never_a_fault(text: str) -> None:
    """Whatever stands in a file, the reader says that it is no receipt."""
    for data in (
        text.encode(errors="ignore"),
        f"{HEADER}: {text}".encode(errors="ignore"),
        b"{" + text.encode(errors="ignore"),
    ):
        with pytest.raises(ReceiptUnreadable):
            receipts.evidence(data)


def test_a_record_that_no_checkpoint_covers_yet_is_asked_for_again() -> None:
    """404 with a detail that says when to come back; a foreign record never gets that far."""

    def early(*_: object) -> None:
        raise NotProvable("no checkpoint covers this record yet; ask again in a second")

    ledger = Ledger(proofs=SimpleNamespace(receipt=early, checkpoint=early))  # type: ignore[arg-type]  # a fake
    call = Call(claims=Claims(client_id="demo", scopes=frozenset(), jti="1"), path={"id": str(RECORD.id)})

    for handler in (ledger.receipt, ledger.checkpoint):
        with pytest.raises(RequestRefused, match="ask again in a second") as refused:
            handler(call)
        assert refused.value.fault.status == 404


def test_a_receipt_is_small_and_quick_to_check() -> None:
    """Under a million records the header fits into two kilobytes, and its check takes a few milliseconds."""
    header = receipts.header(replace(_receipt(), hashes=(bytes(32),) * 20, index=999_999, size=1_000_000))
    found, key = receipts.evidence(_saved(_receipt())), VerifierKey.parse(KEY)

    started = time.process_time()  # what others do meanwhile is not counted
    for _ in range(20):
        list(receipts.check(found, key, input=SENT, output=ANSWERED))
    assert (time.process_time() - started) / 20 < 0.02
    assert len(f"{HEADER}: {header}\r\n") < 2048
