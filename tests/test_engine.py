"""The engine without doors: who gets which answer, and what is on record before it leaves."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Sequence

import pytest

from api import wire
from api.engine.answers import Ready
from api.engine.batching import ALONE_BYTES
from api.engine.committing import Committer
from api.settings import Settings
from db.ledger import Ledger
from models.model import Model, Prediction, Rows
from tests.engines import (
    PATIENCE_S,
    Door,
    Slow,
    engine_in_thread,
    is_recorded,
    price,
    recorded,
    wait_for,
)

pytest_plugins = ("tests.deployments",)


def test_everybody_gets_their_own_answer(settings: Settings) -> None:
    """Requests that wait together are predicted together, and each is answered from its own rows."""
    with engine_in_thread(settings) as door:
        numbers = [door.send("housing", {"age": age}) for age in range(2, 100)]
        answers = door.receive(*numbers)

    assert [each.status for each in answers] == [201] * 98
    for age, answer in zip(range(2, 100), answers, strict=True):
        assert price(age) == pytest.approx(answer.content["predictions"][0]["price"], abs=1e-3)


def test_ids_and_references_come_back_in_order(settings: Settings) -> None:
    """A prediction is named by its record and its place, and carries the reference its instance came with."""
    with engine_in_thread(settings) as door:
        number = door.send(
            "housing", {"age": 50, "reference": "b"}, {"age": 75}, {"age": 100, "reference": "a"}
        )
        answer = door.receive(number)[0].content

    record = str(door.records[number])
    assert {"record", "model", "version", "predictions"} == set(answer)
    assert (record, "housing", "1") == (answer["record"], answer["model"], answer["version"])
    assert [f"{record}.{place}" for place in range(3)] == [each["id"] for each in answer["predictions"]]
    assert [each.get("reference") for each in answer["predictions"]] == ["b", None, "a"]


@pytest.mark.parametrize(
    ("model", "members"),
    [
        ("housing", {"id", "price", "warnings"}),
        ("income", {"id", "label", "probability", "warnings"}),
        ("iris", {"id", "label", "probabilities", "warnings"}),
    ],
)
def test_each_kind_of_model_answers_in_its_own_form(
    settings: Settings, model: str, members: set[str]
) -> None:
    """A regressor answers its target, two classes one probability, more classes one for each."""
    manifest = json.loads((settings.store / model / "1" / "manifest.json").read_text())
    with engine_in_thread(settings) as door:
        answer = door.predict(model, manifest["golden"]["instances"][0])

    assert members == set(answer.content["predictions"][0])


def test_the_record_holds_the_exact_bytes(settings: Settings) -> None:
    """What is on record is the request's bytes as they came and the answer's bytes as they left."""
    body = b'{ "instances" : [ {"age": 5e1} ] }'
    with engine_in_thread(settings) as door:
        number = door.send_body("housing", body, scope="predict")
        answer = door.receive(number)[0]

    found = recorded(settings, door.records[number])
    assert (body, answer.body, 201) == (found.input, found.output, found.status)
    assert json.loads(found.actor) == {"client_id": "tester", "jti": "t-1", "scope": "predict"}
    meta = json.loads(found.meta)
    assert meta["alias"] == "champion"
    assert found.digest is not None
    assert found.digest.hex() == meta["digest"]
    assert meta["received_at_us"] <= found.observed_at_us <= meta["predicted_at_us"]


def test_no_byte_leaves_before_the_record_is_durable(settings: Settings) -> None:
    """While the ledger has not returned, nobody is answered; when it has, everybody is."""
    ledgers: list[Slow] = []

    def slow(ledger: Ledger) -> Slow:
        ledgers.append(Slow(ledger))
        return ledgers[0]

    with engine_in_thread(settings, slow) as door:
        number = door.send("housing", {"age": 50})
        wait_for(lambda: ledgers[0].groups == [1])
        with pytest.raises(TimeoutError):
            door.receive(number, within_s=0.5)
        assert not is_recorded(settings, door.records[number])
        ledgers[0].gate.set()

        assert door.receive(number)[0].status == 201
    assert is_recorded(settings, door.records[number])


@pytest.mark.parametrize(("waiting", "groups"), [(30, [30]), (40, [32, 8]), (80, [80])])
def test_whatever_waits_is_committed_together(settings: Settings, waiting: int, groups: list[int]) -> None:
    """Requests that come while the ledger writes are one group when it is done, a small crowd two: no timer."""
    ledgers: list[Slow] = []

    def slow(ledger: Ledger) -> Slow:
        ledgers.append(Slow(ledger))
        return ledgers[0]

    with engine_in_thread(settings, slow) as door:
        first = door.send("housing", {"age": 1})
        wait_for(lambda: ledgers[0].groups == [1])
        others = [door.send("housing", {"age": age}) for age in range(2, 2 + waiting)]
        time.sleep(0.5)
        ledgers[0].gate.set()
        door.receive(first, *others)

    assert ledgers[0].groups == [1, *groups]


def test_bad_values_cost_only_their_own_request(settings: Settings) -> None:
    """A request the version cannot take gets a recorded 422 that names every culprit; its neighbours get answers."""
    with engine_in_thread(settings) as door:
        good = [door.send("housing", {"age": 50}) for _ in range(5)]
        bad = door.send("housing", {"age": 50}, {"age": "fifty"}, {"age": True}, {})
        good += [door.send("housing", {"age": 75}) for _ in range(5)]
        answer = door.receive(bad)[0]

        assert [each.status for each in door.receive(*good)] == [201] * 10
    assert (answer.status, answer.problem) == (422, "invalid-features")
    assert [f"/instances/{row}/age" for row in (1, 2, 3)] == [
        each["pointer"] for each in answer.content["errors"]
    ]
    assert answer.content["record"] == str(door.records[bad])
    assert answer.body == recorded(settings, door.records[bad]).output


def test_ten_thousand_rows_are_one_record(settings: Settings) -> None:
    """A request larger than a group is still taken, answered in order, and one record."""
    with engine_in_thread(settings) as door:
        answer = door.predict("housing", *({"age": age % 90 + 1} for age in range(10_000)))

    prices = [each["price"] for each in answer.content["predictions"]]
    assert [price(age % 90 + 1) for age in range(10_000)] == pytest.approx(prices, abs=1e-3)


def test_frames_may_arrive_in_any_pieces() -> None:
    """Cutting the stream anywhere gives the same frames."""
    stream = b"".join(wire.encode(number, {"do": "x" * number}, b"b" * number) for number in range(5))
    whole = wire.Splitter(100).feed(stream)
    splitter = wire.Splitter(100)
    pieces = [frame for byte in stream for frame in splitter.feed(bytes([byte]))]

    assert len(whole) == 5
    assert whole == pieces


def test_what_is_answered_leaves_nothing_to_a_collector(settings: Settings) -> None:
    """A request that refers to itself keeps its body, and many of them stop everybody for the time of a collection."""
    with engine_in_thread(settings) as door:
        door.receive(*(door.send("housing", {"age": age % 100}) for age in range(100)))
        gc.collect()
        gc.disable()
        try:
            door.receive(*(door.send("housing", {"age": age % 100}) for age in range(2_000)))
            left = gc.collect()
        finally:
            gc.enable()

    assert left < 2_000  # some hundreds are left by what else an engine does


MANY = [{"age": 50}] * (ALONE_BYTES // 10)


def are_first_but_one(small: Sequence[int], large: Sequence[int], door: Door) -> bool:
    """Say whether no more than one of the large ones was answered before the last of the small ones."""
    order = list(door.answers)
    return len({*order[: max(map(order.index, small))]} & {*large}) <= 1


def test_one_row_waits_for_one_large_prediction_at_most(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for a row while many wait with thousands is predicted between two of these."""
    honest, gate = Model.predict, threading.Event()

    def gated(model: Model, rows: Rows) -> list[Prediction]:
        gate.wait(PATIENCE_S)
        return honest(model, rows)

    with engine_in_thread(settings) as door:
        door.predict("housing", {"age": 1})
        monkeypatch.setattr(Model, "predict", gated)
        large = [door.send("housing", *MANY) for _ in range(4)]
        small = [door.send("housing", {"age": 50}) for _ in range(3)]
        door.ask(do="state")  # all of them were taken
        gate.set()
        answers = door.receive(*large, *small)

        assert {each.status for each in answers} == {201}
        assert are_first_but_one(small, large, door)


def test_one_row_waits_for_one_large_record_at_most(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes while thousands of rows wait to be recorded, request behind request, is recorded between two."""
    honest, waiting, slow = Committer.put, list[Ready](), list[Slow]()

    def noted(committer: Committer, ready: Sequence[Ready], *, is_lone: bool = False) -> None:
        honest(committer, ready)
        waiting.extend(ready)

    def around(ledger: Ledger) -> Slow:
        slow.append(Slow(ledger))
        return slow[0]

    monkeypatch.setattr(Committer, "put", noted)
    with engine_in_thread(settings, around=around) as door:
        large = [door.send("housing", *MANY) for _ in range(4)]
        wait_for(lambda: len(waiting) == 4)
        small = [door.send("housing", {"age": 50}) for _ in range(3)]
        wait_for(lambda: len(waiting) == 7)
        slow[0].gate.set()
        answers = door.receive(*large, *small)

        assert {each.status for each in answers} == {201}
        assert are_first_but_one(small, large, door)
