"""A request with an Idempotency-Key is recorded once, however often and however it is sent (E15)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.service import Caller, Service

BODY = b'{"instances": [{"age": 50}]}'
NEVER_THE_SAME = {"date", "x-request-id", "idempotent-replayed"}


def send(caller: Caller, key: str, body: bytes = BODY, model: str = "housing") -> httpx.Response:
    """Ask a model with a key."""
    return caller.send(model, body, **{"Idempotency-Key": key})


def fresh() -> str:
    """Make a new key."""
    return str(uuid.uuid4())


def slug(answer: httpx.Response) -> str:
    """Name the problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


def told(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """Take of an answer all that must not differ when it is given again."""
    kept = {name: value for name, value in answer.headers.items() if name not in NEVER_THE_SAME}
    return answer.status_code, answer.content, kept


def is_again(first: httpx.Response, second: httpx.Response) -> bool:
    """Say whether the second answer is the first one, byte for byte, and says so."""
    marks = [each.headers.get("idempotent-replayed") for each in (first, second)]
    return told(first) == told(second) and marks == [None, "true"]


def count(caller: Caller, reference: str) -> int:
    """Count the predictions on record with this reference."""
    return len(caller.find(reference=reference))


def asking(reference: str) -> bytes:
    """Write a request that can be found again."""
    return json.dumps({"instances": [{"age": 50, "reference": reference}]}).encode()


@pytest.fixture
def second(service: Service) -> Iterator[Caller]:
    """Sign in as another client."""
    with service.caller("admin") as caller:
        yield caller


def test_the_same_request_gets_the_same_answer(demo: Caller) -> None:
    """Status, bytes, receipt and address are the first ones, also when others were recorded in between."""
    key, reference = fresh(), fresh()
    first = send(demo, key, asking(reference))
    for age in range(3):
        demo.predict("housing", {"age": age})
    again = [send(demo, key, asking(reference)), send(demo, f'"{key}"', asking(reference))]

    assert first.status_code == 201, first.text
    assert all(is_again(first, each) for each in again)
    assert first.headers["onrecord-receipt"] == again[0].headers["onrecord-receipt"]
    assert count(demo, reference) == 1


def test_without_a_key_every_request_is_a_new_one(demo: Caller) -> None:
    """Nothing is taken for a repetition because it looks like one."""
    first, second = demo.send("housing", BODY), demo.send("housing", BODY)

    assert first.json()["record"] != second.json()["record"]
    assert "idempotent-replayed" not in second.headers


def test_another_body_under_the_same_key_is_refused(demo: Caller) -> None:
    """One byte more is another request; nothing of it is recorded, and the first answer stands."""
    key, reference = fresh(), fresh()
    first = send(demo, key, asking(reference))
    other = send(demo, key, asking(reference) + b" ")

    assert (other.status_code, slug(other)) == (422, "key-reused")
    assert is_again(first, send(demo, key, asking(reference)))
    assert count(demo, reference) == 1


def test_a_key_is_one_clients_and_one_addresss(demo: Caller, second: Caller) -> None:
    """What others called their requests, and what one calls requests to another model, is nobody's business."""
    key = fresh()
    answers = [
        send(demo, key),
        send(second, key),
        send(demo, key, b'{"instances": [{"X1": 1, "X2": 2}]}', "two-features"),
    ]

    assert [each.status_code for each in answers] == [201] * 3, answers[-1].text
    assert len({each.json()["record"] for each in answers}) == 3
    assert not any("idempotent-replayed" in each.headers for each in answers)


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 15, "x" * 65, "a key with blanks", '"no end-of-string', "ä" * 20, "a;b=1" * 5]
)
def test_a_malformed_key_is_refused_at_the_door(demo: Caller, key: str) -> None:
    """400 names the header, and nothing is recorded."""
    reference = fresh()
    answer = demo.http.post(
        "/v1/models/housing/predictions",
        content=asking(reference),
        headers=[(b"content-type", b"application/json"), (b"idempotency-key", key.encode("latin-1"))],
    )

    assert (answer.status_code, slug(answer)) == (400, "validation"), answer.text
    assert [each["parameter"] for each in answer.json()["errors"]] == ["Idempotency-Key"]
    assert count(demo, reference) == 0


def test_what_was_refused_at_the_door_keeps_no_key(demo: Caller) -> None:
    """A body that is no request stores nothing; the key is free for the mended one."""
    key = fresh()
    wrong, mended = send(demo, key, b'{"instances": []}'), send(demo, key)

    assert (wrong.status_code, mended.status_code) == (400, 201)
    assert "idempotent-replayed" not in mended.headers


def test_many_at_once_make_one_record(demo: Caller) -> None:
    """Of 64 that come together one is recorded; the others get its bytes, or are told to wait."""
    key, reference = fresh(), fresh()
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: send(demo, key, asking(reference)), range(64)))
    busy = [each for each in answers if each.status_code == 409]
    given = [each for each in answers if each.status_code == 201]

    assert len(busy) + len(given) == 64
    assert {slug(each) for each in busy} <= {"in-flight"}
    assert {each.headers["retry-after"] for each in busy} <= {"1"}
    assert len({(each.content, each.headers["onrecord-receipt"]) for each in given}) == 1
    assert len([each for each in given if "idempotent-replayed" not in each.headers]) == 1
    assert count(demo, reference) == 1
    assert send(demo, key, asking(reference)).content == given[0].content


def test_what_was_erased_is_gone_under_its_key_too(demo: Caller, admin: Caller) -> None:
    """410: the request was recorded, so it is not done again; its answer is no longer there."""
    key, reference = fresh(), fresh()
    record = send(demo, key, asking(reference)).json()["record"]
    body = {"select": {"record": record}, "ground": "data-subject-request", "reason": "letter of 3 November"}
    assert admin.http.post("/v1/erasures", json=body).status_code == 201

    again = send(demo, key, asking(reference))

    assert (again.status_code, slug(again)) == (410, "erased")
    assert record in again.json()["detail"]


def test_changes_are_made_once(admin: Caller) -> None:
    """Holds begun and lifted, erasures and replays: sent again, they are answered from their records."""
    record = admin.send("housing", BODY).json()["record"]
    held = {"select": {"reference": fresh()}, "reason": "case 7"}
    begun = _twice(admin, "/v1/holds", held)
    _twice(admin, f"/v1/holds/{begun.json()['hold']}/lift", {"reason": "over"})
    _twice(admin, f"/v1/predictions/{record}/replay", None)
    erased = {
        "select": {"record": record},
        "ground": "data-subject-request",
        "reason": "letter of 3 November",
    }
    _twice(admin, "/v1/erasures", erased)
    holds = [each["hold"] for each in admin.http.get("/v1/holds").json()["holds"]]

    assert holds.count(begun.json()["hold"]) == 1


def _twice(caller: Caller, path: str, body: Any) -> httpx.Response:
    key = fresh()
    content = None if body is None else json.dumps(body).encode()
    headers = {"Idempotency-Key": key} | ({} if body is None else {"Content-Type": "application/json"})
    first, again = (caller.http.post(path, content=content, headers=headers, timeout=120) for _ in range(2))
    assert first.status_code == 201, first.text
    assert is_again(first, again), again.text
    return first


def test_verification_knows_the_keys(service: Service, demo: Caller) -> None:
    """A ledger in which requests had keys is as sound as any."""
    send(demo, fresh())
    done = service.command("verify", "--json", check=False)

    assert json.loads(done.stdout)["findings"] == [], done.stdout
