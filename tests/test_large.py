"""A large request is read by the engine alone, and comes to what it would have come to had a door read it."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api import contract, large
from api.app import CONTRACT
from api.bodies import read_json
from api.engine.asked import Asked, read_first
from api.engine.desk import Request
from api.large import Cutter
from api.limits import Limit
from api.problems import RequestRefused
from api.schemas import Schema
from models import registry
from models.model import Model
from tests.service import Caller

STORE = Path(__file__).parent.parent / "models" / "store"
AGREED = contract.read(CONTRACT, 20)
COMPONENTS = AGREED.document["components"]["schemas"]
CUT = ("credit", "housing", "income", "iris")  # two-features takes numbers as text, too: a door reads it
_ODD = (
    None,
    True,
    0,
    1,
    -3,
    10**6,
    0.5,
    1.0,
    2**63,
    2**64,
    "",
    "1",
    "Private",
    "a:b",
    "{",
    "]",
    "a\u007f",
    [],
    {},
    [{}],
)
_REST = (
    {"version": "1"},
    {"alias": "champion"},
    {"explain": False},
    {"explain": True},
    {"version": 1},
    {"more": []},
)


@functools.cache
def loaded(name: str) -> Model:
    return registry.load(STORE, name, "1", None)


@functools.cache
def agreed(name: str) -> tuple[Schema, Cutter | None]:
    spec = AGREED.document["paths"][f"/v1/models/{name}/predictions"]["post"]
    schema = Schema(spec["requestBody"]["content"]["application/json"]["schema"], COMPONENTS)
    return schema, Cutter.of(schema, spec, COMPONENTS)


async def unasked() -> tuple[Any, str]:
    """Stand for the reading of a whole body, where nobody does."""
    raise NotImplementedError


def read_by_the_engine(name: str, raw: bytes) -> Asked | None:
    """Go the way of a large request, as far as the engine's reading it."""
    _, cutter = agreed(name)
    assert cutter is not None
    if (unread := cutter.cut(raw, unasked)) is None:
        return None
    door: Any = None
    about: dict[str, Any] = {
        "number": 1,
        "record": UUID(int=7),
        "client_id": "a",
        "actor": b"",
        "model": name,
    }
    about |= {"version": "1", "alias": None, "received_at_us": 1, "taken_at_us": 2, "deadline": 1.0}
    asked = Request(door=door, body=raw, unread=json.loads(json.dumps(unread.told)), **about)
    return read_first(asked, asked.unread or {}, loaded(name))


def drawn(name: str, chance: random.Random) -> bytes:
    """Write a body; in most, something is as it may not be, or is said in another way."""
    golden = loaded(name).manifest.golden.instances
    rows = [dict(chance.choice(golden)) for _ in range(chance.choice((1, 2, 5, 20, 21)))]
    for _ in range(chance.randrange(3)):
        row, member = chance.choice(rows), chance.choice([*golden[0], "reference", "stranger"])
        row.pop(member, None) if chance.random() < 0.3 else row.__setitem__(member, chance.choice(_ODD))
    body = {"instances": rows} | (chance.choice(_REST) if chance.random() < 0.3 else {})
    parts = list(body.items())
    chance.shuffle(parts)
    raw = json.dumps(dict(parts), ensure_ascii=False, indent=chance.choice((None, 1)))
    return _spoilt(raw, chance).encode() if chance.random() < 0.3 else raw.encode()


def _spoilt(raw: str, chance: random.Random) -> str:
    at = chance.randrange(len(raw))
    name = next((each for each in ('"age"', '"sepal_width"', '"version"') if each in raw), '"instances"')
    changes: list[Callable[[], str]] = [
        lambda: raw.replace("{" + raw.partition("{")[2].partition('"')[0] + '"', '{"version":"1","', 1),
        lambda: raw.replace(name, f"{name}: 1, {name}", 1),
        lambda: raw + chance.choice((" ", "]", "}", "x", "[]")),
        lambda: raw[:at] + raw[at + 1 :],
        lambda: raw[:at] + chance.choice('[]{}:,"0') + raw[at:],
        lambda: raw.replace("}", "}, {}", 1),
        lambda: raw.replace("]", '], "instances": []', 1),
        lambda: raw.replace("]", "], [", 1),
    ]
    return chance.choice(changes)()


@pytest.mark.parametrize("name", CUT)
def test_the_engine_takes_nothing_that_a_door_would_refuse(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever body the engine says yes to, the contract allows, and means the same instances by it."""
    monkeypatch.setattr(large, "LARGE_BYTES", 0)
    schema, _ = agreed(name)
    chance = random.Random(name)
    taken = refused = 0
    for _ in range(300):
        raw = drawn(name, chance)
        found = read_by_the_engine(name, raw)
        try:
            body = read_json(raw)
            is_good = schema.is_valid(body)
        except RequestRefused:
            is_good = False
        refused += not is_good
        if found is not None:
            taken += 1
            assert is_good, raw
            assert body["instances"] == found.instances
            assert loaded(name).check(body["instances"]) == found.rows
    assert taken > 30
    assert refused > 30


@pytest.mark.parametrize("name", CUT)
def test_the_engine_takes_what_is_plain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good instances are read once, also with references, with spaces, with a version, and unlike all training."""
    monkeypatch.setattr(large, "LARGE_BYTES", 0)
    rows = [dict(each) for each in loaded(name).manifest.golden.instances[:20]]
    rows[0]["reference"] = "café 1001"
    numbers = [each for each, value in rows[0].items() if type(value) in (int, float)]
    spec = AGREED.models[name].features[numbers[0]]
    rows[-1][numbers[0]] = spec["maximum"]

    for body in (
        {"instances": rows},
        {"version": "1", "instances": rows},
        {"instances": rows, "alias": "champion"},
    ):
        for indent in (None, 2):
            found = read_by_the_engine(name, json.dumps(body, ensure_ascii=False, indent=indent).encode())
            assert found is not None
            assert found.references[:2] == ["café 1001", None]


REFUSED: dict[str, Callable[[str], str]] = {
    "nothing": lambda raw: raw + "x",
    "a feature that may be null is not there": lambda raw: raw.replace('"workclass": "Private", ', "", 1),
    "it has another name": lambda raw: raw.replace('"workclass"', '"work"', 1),
    "a stranger": lambda raw: raw.replace('"age"', '"more": 1, "age"', 1),
    "a name twice": lambda raw: raw.replace('"age"', '"age": 18, "age"', 1),
    "no reference": lambda raw: raw.replace('"age"', '"reference": null, "age"', 1),
    "an empty reference": lambda raw: raw.replace('"age"', '"reference": "", "age"', 1),
    "a reference with DEL": lambda raw: raw.replace('"age"', '"reference": "a\u007f", "age"', 1),
    "a long reference": lambda raw: raw.replace('"age"', f'"reference": "{201 * "a"}", "age"', 1),
    "a list": lambda raw: raw.replace('"age"', '"reference": ["a"], "age"', 1),
    "a whole number as a double": lambda raw: raw.replace('"age": 1', '"age": 1.0e1', 1),
    "beyond the range": lambda raw: raw.replace('"age": ', '"age": 10', 1),
    "null where it may not be": lambda raw: raw.replace('"sex": "Female"', '"sex": null', 1),
    "an unknown category": lambda raw: raw.replace('"Female"', '"None"', 1),
    "an instance that is none": lambda raw: raw.replace("}]", "}, 5]"),
    "an instance inside one": lambda raw: raw.replace('"sex": "Female"', '"sex": {"a": {}}', 1),
    "two lists": lambda raw: raw.replace("}]", '}], "more": [{}]'),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_plain_is_left_to_a_door(
    change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thing that may be wrong with an instance, or around it, keeps the engine from saying yes."""
    monkeypatch.setattr(large, "LARGE_BYTES", 0)
    rows = loaded("income").manifest.golden.instances[:20]
    first, between, others = json.dumps({"instances": rows}).partition(
        "}, "
    )  # the first one is read by the door

    assert read_by_the_engine("income", f"{first}{between}{others}".encode()) is not None
    assert change(others) != others
    assert read_by_the_engine("income", f"{first}{between}{change(others)}".encode()) is None


@pytest.mark.parametrize("more", ['"more": [1, 1]', ", ".join(f'"more{nth}": 1' for nth in range(400))])
def test_the_engine_is_not_asked_to_read_what_no_request_holds(more: str) -> None:
    """Lists, and many more names than features, are not cut out for the engine: a body of them would take its time."""
    rows = persons()
    raw = json.dumps({"instances": rows[:20]}).encode() + b" " * large.LARGE_BYTES
    _, cutter = agreed("income")
    assert cutter is not None

    assert cutter.cut(raw, unasked) is not None
    assert cutter.cut(raw.replace(b"}, {", b"}, {" + more.encode() + b", ", 1), unasked) is None


def test_what_takes_numbers_as_text_is_read_by_a_door() -> None:
    """Of a model whose features are more than ranges and lists, nothing is cut."""
    assert agreed("two-features")[1] is None


def persons(count: int = 400) -> list[dict[str, Any]]:
    golden = loaded("income").manifest.golden.instances
    rows = [dict(golden[nth % len(golden)]) for nth in range(count)]
    return [{**each, "reference": f"large-{nth}"} for nth, each in enumerate(rows)]


def test_every_row_of_a_large_request_is_found(demo: Caller) -> None:
    """It is answered in order, and each row is found by its reference with label and score."""
    rows = persons()

    answer = demo.predict("income", *rows)

    assert answer.status_code == 201, answer.text
    said = answer.json()["predictions"]
    assert [each["reference"] for each in rows] == [each["reference"] for each in said]
    for nth in (0, 17, 399):
        [found] = [each for each in demo.find(reference=f"large-{nth}") if each["id"] == said[nth]["id"]]
        assert (found["label"], found["score"]) == (said[nth]["label"], said[nth]["probability"])


@pytest.mark.parametrize(
    ("change", "more", "status"),
    [
        ({"age": "39"}, {}, 400),
        ({"stranger": 1}, {}, 400),
        ({"sex": "none of ours"}, {"version": "nine"}, 400),
        ({"reference": "a\u007f"}, {}, 400),
        ({"age": 39.0}, {}, 422),
        ({"sex": "Male"}, {"version": "nine"}, 404),
        ({"sex": "Male"}, {"explain": True}, 201),
    ],
)
def test_a_large_request_comes_to_what_it_would_have(
    demo: Caller, change: dict[str, Any], more: dict[str, Any], status: int
) -> None:
    """Status and problem are those of the same request with an escape in it, which a door reads."""
    rows = persons()
    rows[200] |= change
    raw = json.dumps({"instances": rows, **more}, ensure_ascii=False).encode()

    engines, doors = (
        demo.send("income", each) for each in (raw, raw.replace(b'large-1"', b'large\\u002d1"'))
    )

    assert (status, status) == (engines.status_code, doors.status_code), engines.text
    if status in (400, 404):
        [theirs, ours] = (each.json() for each in (doors, engines))
        assert theirs | {"request_id": ""} == ours | {"request_id": ""}
    elif status == 422:
        assert doors.json()["errors"] == engines.json()["errors"]


def test_what_is_given_back_was_never_taken() -> None:
    """A client whose request is handed back unread may send it again within its quota."""
    limit = Limit("instances", 100)

    assert limit.over("a", 0.0, 100) is None
    assert limit.over("a", 0.0, 1) is not None
    limit.give_back("a", 100)
    assert limit.over("a", 0.0, 100) is None
