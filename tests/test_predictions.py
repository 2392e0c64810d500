"""Predictions through the front door: five models, real tokens, both databases; nothing mixed up, nothing lost."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from api import contract
from api.app import CONTRACT
from tests.service import Caller, Service, nameless

MODELS = contract.read(CONTRACT, 10_000).models
CURVES = ("calibration", "roc_curve", "actuals")  # only of a version that is asked for by name
HOUSING = {50: 24.901049, 75: 22.065760, 100: 19.230470}


def _example(model: str) -> dict[str, Any]:
    return dict(MODELS[model].examples[0]["instances"][0])


def test_housing_gives_the_published_prices(demo: Caller) -> None:
    """Age 50, 75 and 100 are worth 24.901049, 22.065760 and 19.230470 thousand dollars."""
    answer = demo.predict("housing", *({"age": age} for age in HOUSING))

    assert answer.status_code == 201
    prices = [round(each["price"], 6) for each in answer.json()["predictions"]]
    assert prices == list(HOUSING.values())


@pytest.mark.parametrize("model", MODELS)
def test_every_model_answers_its_examples(demo: Caller, model: str) -> None:
    """Each example of the contract is answered as the contract says, and is found again with its input."""
    for example in MODELS[model].examples:
        answer = demo.predict(model, *example["instances"])

        assert answer.status_code == 201, answer.text
        assert len(answer.json()["predictions"]) == len(example["instances"])
        first = answer.json()["predictions"][0]
        found = demo.http.get(f"/v1/predictions/{first['id']}").json()
        assert found["instance"] == example["instances"][0]
        assert found["prediction"] == first


def test_the_answer_points_to_its_record(demo: Caller) -> None:
    """Location leads to a record that holds the exact bytes of request and answer."""
    body = b'{ "instances" : [ {"age": 5e1, "reference": "caf\xc3\xa9"} ] }'
    answer = demo.send("housing", body)

    record = demo.http.get(answer.headers["location"]).json()

    assert base64.b64decode(record["input"]) == body
    assert base64.b64decode(record["output"]) == answer.content
    assert record["actor"]["client_id"] == demo.client_id == record["client"]
    assert (record["model"], record["version"], record["status"]) == ("housing", "1", 201)


def test_a_thousand_instances_keep_their_order(demo: Caller) -> None:
    """Each of 1,000 instances gets its own answer, under its own reference, in the order of the request."""
    ages = random.Random(1).sample(range(0, 100_000), 1000)

    answer = demo.predict("housing", *({"age": age / 1000, "reference": f"r{age}"} for age in ages))

    predictions = answer.json()["predictions"]
    assert [each["reference"] for each in predictions] == [f"r{age}" for age in ages]
    for age, each in zip(ages, predictions, strict=True):
        assert each["price"] == pytest.approx(30.571629 - 0.113412 * age / 1000, abs=1e-3)
    positions = [each["id"].rpartition(".")[2] for each in predictions]
    assert positions == [str(position) for position in range(1000)]


def test_sixty_four_callers_at_once_get_their_own_answers(service: Service, demo: Caller) -> None:
    """Under 64 concurrent callers no answer reaches the wrong one, whatever is batched with whatever."""

    def ask(number: int) -> list[tuple[float, dict[str, Any]]]:
        dice = random.Random(number)
        with httpx.Client(base_url=service.url, headers=demo.http.headers, timeout=30) as http:
            answers = []
            for _ in range(12):
                age = dice.randrange(0, 100_000) / 1000
                body = {"instances": [{"age": age, "reference": f"{number}-{age}"}]}
                answer = http.post("/v1/models/housing/predictions", json=body)
                assert answer.status_code == 201, answer.text
                demo.seen[answer.json()["record"]] = answer.content
                answers.append((age, answer.json()["predictions"][0]))
            return answers

    with ThreadPoolExecutor(64) as callers:
        answered = list(callers.map(ask, range(64)))

    for number, answers in enumerate(answered):
        for age, prediction in answers:
            assert prediction["reference"] == f"{number}-{age}"
            assert prediction["price"] == pytest.approx(30.571629 - 0.113412 * age, abs=1e-3)


def test_an_unusual_value_is_answered_with_a_warning(demo: Caller) -> None:
    """A value that is legal but outside the training data is answered, and the warning is on record."""
    person = _example("income") | {"age": 99}

    answer = demo.predict("income", person)

    assert answer.status_code == 201
    [prediction] = answer.json()["predictions"]
    assert [warning["feature"] for warning in prediction["warnings"]] == ["age"]
    assert demo.http.get(f"/v1/predictions/{prediction['id']}").json()["prediction"] == prediction


WRONG_INSTANCES = {
    "a missing feature": ("/instances/1/workclass", {"workclass": ...}),
    "an unknown feature": ("/instances/1/shoe_size", {"shoe_size": 43}),
    "text for a number": ("/instances/1/age", {"age": "39"}),
    "truth for a number": ("/instances/1/age", {"age": True}),
    "nothing for a number": ("/instances/1/age", {"age": None}),
    "a list for a number": ("/instances/1/age", {"age": [39]}),
    "out of range": ("/instances/1/age", {"age": 3000}),
    "an unknown category": ("/instances/1/sex", {"sex": "none of ours"}),
    "a control character": ("/instances/1/reference", {"reference": "a\tb"}),
    "an empty reference": ("/instances/1/reference", {"reference": ""}),
}


@pytest.mark.parametrize(("pointer", "change"), WRONG_INSTANCES.values(), ids=WRONG_INSTANCES.keys())
def test_a_wrong_instance_is_refused_by_its_name(demo: Caller, pointer: str, change: dict[str, Any]) -> None:
    """The problem points at the one wrong member of the second instance, and nothing is recorded."""
    good = _example("income")
    wrong = {name: value for name, value in (good | change).items() if value is not ...}

    answer = demo.predict("income", good, wrong)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/validation"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert json.dumps(change.get("sex", "\x00"))[1:-1] not in answer.text


def test_every_culprit_is_named(demo: Caller) -> None:
    """Three wrong members in three instances are three errors in one answer."""
    good = _example("income")
    instances = [good | {"age": -1}, good | {"sex": 5}, {**good, "hours_per_week": "many"}]

    answer = demo.predict("income", *instances)

    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/instances/0/age", "/instances/1/sex", "/instances/2/hours_per_week"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"version": "nine"}, 404),
        ({"alias": "nobody"}, 404),
        ({"version": "1", "alias": "champion"}, 400),
        ({"version": "1"}, 201),
        ({"alias": "champion"}, 201),
    ],
)
def test_the_version_can_be_chosen(demo: Caller, body: dict[str, str], status: int) -> None:
    """By name or by alias, not both; an unknown one is 404."""
    answer = demo.predict("housing", {"age": 50}, **body)

    assert answer.status_code == status, answer.text


def test_numeric_strings_are_numbers_where_the_contract_says_so(demo: Caller) -> None:
    """The two-features model takes 1.5 and "1.5" for the same."""
    number = demo.predict("two-features", {"X1": 1.5, "X2": -2}).json()["predictions"][0]
    text = demo.predict("two-features", {"X1": "1.5", "X2": "-2"}).json()["predictions"][0]

    assert (number["label"], number["probability"]) == (text["label"], text["probability"])


def test_other_clients_predictions_do_not_exist(demo: Caller, admin: Caller) -> None:
    """A foreign id and an absent id get the same answer, unless the token may audit."""
    theirs = admin.predict("housing", {"age": 50, "reference": "theirs"}).json()
    absent = theirs["record"][:-4] + "0000"

    for path in ("/v1/predictions/{}.0", "/v1/records/{}"):
        foreign = demo.http.get(path.format(theirs["record"]))
        nothing = demo.http.get(path.format(absent))
        assert (foreign.status_code, nameless(foreign)) == (404, nameless(nothing))
        assert admin.http.get(path.format(theirs["record"])).status_code == 200
    assert demo.find(reference="theirs") == []
    mine = demo.predict("housing", {"age": 50}).json()
    assert admin.http.get(f"/v1/records/{mine['record']}").status_code == 200


def test_a_search_finds_what_matches_and_nothing_else(demo: Caller, admin: Caller) -> None:
    """Every filter, alone and joined, finds exactly what a plain loop over all predictions finds."""
    marks = random.Random(demo.client_id).sample(range(10**9), 6)
    for mark in marks:
        demo.predict("housing", {"age": mark % 100, "reference": str(mark)})
        demo.predict("iris", _example("iris") | {"reference": str(mark)})
    admin.predict("housing", {"age": 1, "reference": str(marks[0])})
    everything = admin.find()

    def expect(found: list[dict[str, Any]], matches: Any) -> None:
        assert found == [
            each for each in everything if each.get("client") == demo.client_id and matches(each)
        ]

    middle = everything[len(everything) // 2]
    expect(demo.find(), lambda each: True)
    expect(demo.find(model="iris"), lambda each: each["model"] == "iris")
    expect(demo.find(reference=str(marks[0])), lambda each: each.get("reference") == str(marks[0]))
    expect(demo.find(label="setosa"), lambda each: each.get("label") == "setosa")
    expect(demo.find(score_min=20, score_max=25), lambda each: 20 <= each.get("score", 0) <= 25)
    expect(demo.find(**{"from": middle["at"]}), lambda each: each["at"] >= middle["at"])
    expect(
        demo.find(to=middle["at"], model="housing"),
        lambda each: each["at"] < middle["at"] and each["model"] == "housing",
    )
    expect(demo.find(has_outcome="true"), lambda each: each["has_outcome"])
    assert {each["client"] for each in admin.find(client=demo.client_id)} == {demo.client_id}
    assert len(admin.find(reference=str(marks[0]))) == 3


def test_pages_neither_skip_nor_repeat(demo: Caller) -> None:
    """Following the cursor in pages of 7 gives what one page of 100 gives, also over several instances a record."""
    reference = "pages"
    for _ in range(5):
        demo.predict("housing", *({"age": age, "reference": reference} for age in range(5)))

    in_sevens = demo.find(reference=reference, limit=7)

    assert in_sevens == demo.find(reference=reference, limit=100)
    assert len(in_sevens) == len({each["id"] for each in in_sevens}) == 25


@pytest.mark.parametrize("cursor", ["AAAA", "x", "A" * 200, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_a_cursor_that_was_not_given_out_is_unknown(demo: Caller, cursor: str) -> None:
    """A made-up cursor is 404, never a look into somebody's data."""
    assert demo.http.get("/v1/predictions", params={"cursor": cursor}).status_code == 404


def test_a_cursor_belongs_to_its_search(demo: Caller) -> None:
    """A cursor used with other conditions, or by another client, is unknown."""
    demo.predict("housing", *({"age": age} for age in range(3)))
    cursor = demo.http.get("/v1/predictions", params={"limit": 1}).json()["next"]

    again = demo.http.get("/v1/predictions", params={"limit": 1, "cursor": cursor})
    other = demo.http.get("/v1/predictions", params={"limit": 1, "cursor": cursor, "model": "housing"})

    assert (again.status_code, other.status_code) == (200, 404)


def test_the_same_search_comes_as_lines_and_as_csv(demo: Caller) -> None:
    """NDJSON and CSV stream the same predictions as the pages of JSON."""
    odd = ['=1+1,"x"\u2028é', "'=quoted", "'", "\t=1", "－1", "it's"]
    demo.predict("housing", *({"age": 1, "reference": each} for each in odd), {"age": 2})
    pages = demo.find(model="housing")

    lines = demo.http.get("/v1/predictions?model=housing", headers={"Accept": "application/x-ndjson"})
    table = demo.http.get("/v1/predictions?model=housing", headers={"Accept": "text/csv"})

    assert [json.loads(line) for line in lines.text.split("\n")[:-1]] == pages
    rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
    assert [row["id"] for row in rows] == [each["id"] for each in pages]
    # What others erased meanwhile has no score any more.
    assert [row["score"] and float(row["score"]) for row in rows] == [each.get("score", "") for each in pages]
    references = [row["reference"] for row in rows]
    assert [each.removeprefix("'") for each in references] == [each.get("reference", "") for each in pages]
    assert not [each for each in references if each.startswith(("=", "+", "-", "@", "\t", "－"))]
    assert (
        len(demo.http.get("/v1/predictions?limit=1", headers={"Accept": "text/csv"}).text.splitlines()) == 2
    )


def test_another_clients_predictions_need_a_scope(demo: Caller, admin: Caller) -> None:
    """Asking for another client's predictions without audit:read names the scope that is missing."""
    answer = demo.http.get("/v1/predictions", params={"client": admin.client_id})

    assert answer.status_code == 403
    assert 'scope="audit:read"' in answer.headers["www-authenticate"]


def test_what_is_served_is_described(demo: Caller) -> None:
    """Models and versions are listed with features, metrics, data and the digest they are registered under."""
    listed = demo.http.get("/v1/models").json()["models"]

    assert [each["model"] for each in listed] == sorted(MODELS)
    for each in listed:
        model = demo.http.get(f"/v1/models/{each['model']}").json()
        version = demo.http.get(f"/v1/models/{each['model']}/versions/{each['champion']}").json()
        versions = demo.http.get(f"/v1/models/{each['model']}/versions").json()
        assert [feature["name"] for feature in model["features"]] == [
            one["name"] for one in version["features"]
        ]
        assert versions["versions"] == [{name: version[name] for name in version if name not in CURVES}]
        assert version["metrics"] == each["metrics"]
        assert version["aliases"] == ["champion"]
        assert version["data"]["rows"] > 0
