"""What a replay says: identical, equal or different, and where; for every way in which a request could be recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.engine.comparing import Given, compare
from models.model import Model, Prediction, PredictionFailed, Rows
from tests import auditor
from tests.engines import settings_of
from tests.replaying import Deployment, predicted
from tests.rigged import golden_instances

pytest_plugins = ("tests.deployments",)

HONEST: Callable[[Model, Rows], list[Prediction]] = Model.predict


@pytest.fixture
def deployment(var: Path) -> Iterator[Deployment]:
    """Make a deployment with time for replays on a busy machine; afterwards its ledger is audited."""
    deployment = Deployment(settings_of(var, ONRECORD_REPLAY_DEADLINE_S="90"))
    yield deployment
    assert auditor.audit(deployment.settings.database_url) == []


def test_rows_that_were_predicted_among_others_are_replayed_alone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What 64 callers were answered in joint calls to the model is answered identically, each by itself."""
    sizes: list[int] = []

    def counting(model: Model, rows: Rows) -> list[Prediction]:
        sizes.append(len(rows))
        return HONEST(model, rows)

    with deployment.running() as door:
        for model in ("income", "credit", "iris"):
            predicted(door, model, golden_instances(model, 1)[0])
        monkeypatch.setattr(Model, "predict", counting)
        sent = {
            model: [door.send(model, each) for each in golden_instances(model, 64)]
            for model in ("income", "credit", "iris")
        }
        for numbers in sent.values():
            assert {each.status for each in door.receive(*numbers)} == {201}
        some = [numbers[place] for numbers in sent.values() for place in (20, 63)]
        verdicts = [door.replay(door.records[number]).content["verdict"] for number in some]

    assert len(sizes) < 3 * 64  # how many came together, is up to the machine
    assert verdicts == ["identical"] * 6


def test_an_answer_that_comes_out_otherwise_is_reported(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the artefact does not answer again is `different`, with every place and the largest difference."""

    def lying(model: Model, rows: Rows) -> list[Prediction]:
        return [
            each._replace(value=(each.value or 0) + place) for place, each in enumerate(HONEST(model, rows))
        ]

    with deployment.running() as door:
        predicted(door)
        monkeypatch.setattr(Model, "predict", lying)
        answer = door.replay(predicted(door, "housing", {"age": 50}, {"age": 60}, {"age": 70})).content

    assert (answer["verdict"], answer["difference_count"]) == ("different", 2)
    assert [each["pointer"] for each in answer["differences"]] == [
        f"/body/predictions/{at}/price" for at in (1, 2)
    ]
    assert [each["difference"] for each in answer["differences"]] == pytest.approx([1, 2])
    assert answer["largest_difference"] == pytest.approx(2)
    assert answer["recorded"]["body"]["predictions"][0] == answer["replayed"]["body"]["predictions"][0]


def test_what_failed_is_replayed_too(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that could not be taken cannot be taken again, identically; a failure that does not recur is different."""

    def failing(model: Model, rows: Rows) -> list[Prediction]:
        raise PredictionFailed("always")

    with deployment.running() as door:
        invalid = predicted(door, "housing", {"age": "fifty"}, {"age": 50}, {})
        monkeypatch.setattr(Model, "predict", failing)
        failed = predicted(door)
        number = door.send_body("housing", b'{"instances":[5]}')
        assert door.receive(number)[0].status == 400
        answers = [door.replay(each).content for each in (invalid, failed, door.records[number])]
        position = door.replay(invalid, 0)

    statuses = [(each["verdict"], each["recorded"]["status"], each["replayed"]["status"]) for each in answers]
    assert statuses == [("identical", 422, 422), ("different", 500, 201), ("identical", 400, 400)]
    assert answers[1]["differences"] == [{"pointer": "/status", "recorded": 500, "replayed": 201}]
    assert position.problem == "not-found"


def test_other_libraries_are_named(deployment: Deployment) -> None:
    """Where the libraries on record are not those that run, each is named, then and now, and nothing is recorded."""
    from models import registry

    with deployment.running() as door:
        then = {"scikit-learn": "1.8.0", "numpy": registry.installed("numpy"), "python": "2.7.18"}
        original = deployment.record_like(predicted(door), libraries=then)
        before = deployment.count()
        answer = door.replay(original)

    now = {name: registry.installed(name) for name in ("scikit-learn", "python")}
    assert (answer.status, answer.problem) == (409, "libraries-differ")
    named = "scikit-learn was 1.8.0, is {scikit-learn}; python was 2.7.18, is {python}".format(**now)
    assert answer.content["detail"] == named
    assert deployment.count() == before


BODY = b'{"predictions":[{"label":"a","probability":0.25},{"label":"b","probability":0.5}]}'


@pytest.mark.parametrize(
    ("replayed", "verdict", "largest", "pointers"),
    [
        (BODY, "identical", None, []),
        (BODY.replace(b"0.25", b"0.2500000005"), "equal", 5e-10, ["/body/predictions/0/probability"]),
        (BODY.replace(b"0.25", b"0.250000002"), "different", 2e-9, ["/body/predictions/0/probability"]),
        (BODY.replace(b":", b": "), "equal", None, []),
        (BODY.replace(b'"a"', b'"b"'), "different", None, ["/body/predictions/0/label"]),
        (BODY.replace(b"0.5", b"true"), "different", None, ["/body/predictions/1/probability"]),
        (b'{"predictions":[]}', "different", None, ["/body/predictions/0", "/body/predictions/1"]),
        (BODY[:-1] + b',"a/b~":1}', "different", None, ["/body/a~1b~0"]),
    ],
)
def test_answers_are_compared_place_by_place(
    replayed: bytes, verdict: str, largest: float | None, pointers: list[str]
) -> None:
    """The same bytes, the same within a billionth, or not the same: then every place is named."""
    found = compare(Given(status=201, body=BODY), Given(status=201, body=replayed))

    assert (found.verdict, [each["pointer"] for each in found.differences]) == (verdict, pointers)
    assert found.largest == (None if largest is None else pytest.approx(largest, rel=1e-6))
    assert found.count == len(pointers)


def test_of_many_differences_the_first_are_listed() -> None:
    """Twenty are shown, all are counted."""
    many = [json.dumps({"body": [value] * 50}).encode() for value in (1, 2)]

    found = compare(*(Given(status=201, body=each) for each in many))

    assert (len(found.differences), found.count, found.largest) == (20, 50, 1)
