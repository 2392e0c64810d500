"""Receipts over HTTP, on both databases: every 201 has one, and it holds for its own bytes, key and place only."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import contract
from api.app import CONTRACT
from api.receipts import HEADER, ReceiptFalse, evidence
from api.receipts import check as check_ours
from db.notes import Signer, VerifierKey
from tests import holder
from tests.engines import wait_for
from tests.service import Caller, Service, nameless

MODELS = contract.read(CONTRACT, 10_000).models
BODY = b'{ "instances" : [ {"age": 5e1, "reference": "caf\xc3\xa9"} ] }'


@pytest.fixture
def key(service: Service) -> str:
    """Pin the public key, as an operator hands it out."""
    return (service.var / "ledger.pub").read_text()


def _later(caller: Caller, record: str) -> dict[str, Any]:
    """Fetch a receipt again; the checkpoint that covers it may take a second."""
    path = f"/v1/records/{record}/receipt"
    wait_for(lambda: caller.http.get(path).status_code == 200)
    return dict(caller.http.get(path).json())


def _accepts(data: bytes, key: str, **contents: bytes) -> bool:
    try:
        list(check_ours(evidence(data), VerifierKey.parse(key.strip()), **contents))
    except ReceiptFalse:
        return False
    return True


@pytest.mark.parametrize("model", MODELS)
def test_every_answer_carries_its_proof(demo: Caller, key: str, model: str) -> None:
    """R6: request, answer and ledger.pub are enough to show that this record stands in the signed ledger."""
    for example in MODELS[model].examples:
        body = json.dumps({"instances": example["instances"]}).encode()
        answer = demo.send(model, body)

        held = holder.of_header(answer.headers[HEADER])
        assert str(holder.check(held, key, body, answer.content)) == answer.json()["record"]
        assert demo.http.get(answer.headers["location"]).json()["index"] == held.index
        saved = f"HTTP/1.1 201 Created\r\n{HEADER.lower()}: {answer.headers[HEADER]}\r\n\r\n".encode()
        assert _accepts(saved, key, input=body, output=answer.content)


def test_what_was_not_answered_201_has_no_receipt(demo: Caller) -> None:
    """A refused request and a read carry no header; it proves answers and nothing else."""
    assert HEADER not in demo.send("housing", b"{}").headers
    assert HEADER not in demo.http.get("/v1/models").headers


def test_sixty_four_callers_get_receipts_of_one_ledger(service: Service, demo: Caller, key: str) -> None:
    """Every one of 384 receipts, made at once, holds for its own bytes; all of them show the same growing ledger."""

    def ask(number: int) -> list[holder.Held]:
        with httpx.Client(base_url=service.url, headers=demo.http.headers, timeout=30) as http:
            mine = []
            for turn in range(6):
                body = json.dumps({"instances": [{"age": number + turn / 10}]}).encode()
                headers = {"Content-Type": "application/json"}
                answer = http.post("/v1/models/housing/predictions", content=body, headers=headers)
                assert answer.status_code == 201, answer.text
                demo.seen[answer.json()["record"]] = answer.content
                mine.append(holder.of_header(answer.headers[HEADER]))
                assert str(holder.check(mine[-1], key, body, answer.content)) == answer.json()["record"]
            return mine

    with ThreadPoolExecutor(64) as callers:
        held = [each for mine in callers.map(ask, range(64)) for each in mine]

    assert len({each.index for each in held}) == len(held)
    roots = {each.size: each for each in held}
    assert all(roots[each.size].root == each.root for each in held)
    for older, newer in pairwise([roots[size] for size in sorted(roots)]):
        proof = demo.http.get("/v1/ledger/consistency", params={"from": older.size, "to": newer.size}).json()
        holder.check_grown(older, newer, [b64decode(each) for each in proof["hashes"]])


def test_a_receipt_fetched_later_agrees_with_the_first(demo: Caller, key: str) -> None:
    """The receipt of today is under a newer checkpoint, and the ledger of the first one is the beginning of its."""
    answer = demo.send("housing", BODY)
    first = holder.of_header(answer.headers[HEADER])
    record = answer.json()["record"]
    for age in range(3):
        demo.predict("housing", {"age": age})
    wait_for(lambda: holder.of_note(demo.http.get("/v1/ledger/checkpoint").text).size > first.size)

    fetched = _later(demo, record)

    later = holder.of_json(fetched)
    assert str(holder.check(later, key, BODY, answer.content)) == record == fetched["record"]
    assert (later.index, later.leaf, later.salts) == (first.index, first.leaf, first.salts)
    assert later.size > first.size
    asked = {"from": first.size, "to": later.size}
    proof = httpx.get(f"{demo.url}/v1/ledger/consistency", params=asked).json()
    assert asked.items() <= proof.items()
    holder.check_grown(first, later, [b64decode(each) for each in proof["hashes"]])
    assert _accepts(json.dumps(fetched).encode(), key, input=BODY, output=answer.content)


def test_the_checkpoint_is_public_and_signed(demo: Caller, key: str) -> None:
    """Without a token anybody reads what the service states of its ledger, and checks it with the pinned key."""
    answer = httpx.get(f"{demo.url}/v1/ledger/checkpoint")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    holder.check_signature(holder.of_note(answer.text), key)


def test_a_receipt_proves_its_own_bytes_only(demo: Caller, key: str) -> None:
    """R4, R7: one byte more or less in request or answer, and another request's receipt, are refused."""
    other = BODY.replace(b"5e1", b"6e1")
    answers = {body: demo.send("housing", body) for body in (BODY, other)}
    held = holder.of_header(answers[BODY].headers[HEADER])
    saved = f"{HEADER}: {answers[BODY].headers[HEADER]}\n".encode()
    wrong = {
        "altered answer": (BODY, answers[BODY].content.replace(b"24.9", b"25.9")),
        "longer answer": (BODY, answers[BODY].content + b" "),
        "altered request": (other, answers[BODY].content),
        "shorter request": (BODY[:-1], answers[BODY].content),
        "another request's": (other, answers[other].content),
        "swapped": (answers[BODY].content, BODY),
    }

    for name, (sent, answered) in wrong.items():
        with pytest.raises(holder.Refused):
            holder.check(held, key, sent, answered)
        assert not _accepts(saved, key, input=sent, output=answered), name
    assert _accepts(saved, key, input=BODY, output=answers[BODY].content)


def test_a_receipt_proves_its_own_place_and_ledger_only(demo: Caller, key: str) -> None:
    """R4, R6: another key, index, size, root, leaf, path or signature is refused."""
    answer = demo.send("housing", BODY)
    held = holder.of_header(answer.headers[HEADER])
    name, *_ = key.partition("+")
    stranger = str(Signer(name=name, private=Ed25519PrivateKey.generate()).key())
    wrong = {
        "index": replace(held, index=held.index - 1),
        "size": replace(held, size=held.size + 1),
        "root": replace(held, root=bytes(32)),
        "leaf": replace(held, leaf=held.leaf[:-1] + bytes([held.leaf[-1] ^ 1])),
        "path": replace(held, path=[*held.path[:-1], bytes(32)]),
        "a hash too many": replace(held, path=[*held.path, bytes(32)]),
        "signature": replace(held, signature=bytes(64)),
        "name": replace(held, name="onrecord.local/ffffffff"),
    }

    for what, each in wrong.items():
        with pytest.raises(holder.Refused):
            holder.check(each, key, BODY, answer.content)
        assert not _accepts(_header(each), key, input=BODY, output=answer.content), what
    with pytest.raises(holder.Refused):
        holder.check(held, stranger, BODY, answer.content)
    assert not _accepts(_header(held), stranger)
    assert _header(held).decode() == f"{HEADER}: {answer.headers[HEADER]}\n"


def _header(held: holder.Held) -> bytes:
    """Write the header a second time; `api.receipts.header` must write the same."""
    binary = {"root": held.root, "leaf": held.leaf, **{f"salt-{k}": v for k, v in held.salts.items()}}
    parts = [f"index={held.index}", f"size={held.size}"]
    parts += [f"{name}=:{b64encode(data).decode()}:" for name, data in binary.items()]
    parts += [f"proof=:{b64encode(b''.join(held.path)).decode()}:", f'key="{held.name}+{held.key_id.hex()}"']
    parts += [f"sig=:{b64encode(held.signature).decode()}:"]
    return f"{HEADER}: {', '.join(parts)}\n".encode()


def test_a_foreign_record_has_no_receipt(demo: Caller, admin: Caller, key: str) -> None:
    """Another client's receipt answers like one that does not exist; with audit:read, all of them are there."""
    theirs = admin.predict("housing", {"age": 50}).json()["record"]
    mine = demo.send("housing", BODY)
    _later(admin, theirs)

    foreign = demo.http.get(f"/v1/records/{theirs}/receipt")
    absent = demo.http.get(f"/v1/records/{theirs[:-4]}0000/receipt")

    assert (foreign.status_code, nameless(foreign)) == (404, nameless(absent))
    assert httpx.get(f"{demo.url}/v1/records/{theirs}/receipt").status_code == 401
    audited = holder.of_json(_later(admin, mine.json()["record"]))
    holder.check(audited, key, BODY, mine.content)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=0&to=0", 200),
        ("from=0&to=1", 200),
        ("from=1&to=1", 200),
        ("from=1&to=999999999999999", 404),
        ("from=1&to=0", 404),
        ("from=1&to=1000000000000000", 400),
        ("from=-1&to=1", 400),
        ("from=1", 400),
        ("to=1", 400),
        ("", 400),
        ("from=1&to=x", 400),
        ("from=1&from=1&to=1", 400),
    ],
)
def test_impossible_sizes_are_refused(demo: Caller, query: str, status: int) -> None:
    """What no ledger has is 400 by the contract; what this one does not have yet is 404."""
    demo.predict("housing", {"age": 50})

    assert httpx.get(f"{demo.url}/v1/ledger/consistency?{query}").status_code == status
