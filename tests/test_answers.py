"""What is asked of a model is checked, named where it is wrong, and answered the same in any company."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import registry
from models.features import LISTED_CULPRITS, Features
from models.model import BadFeatures, Culprit, Model, PredictionFailed, Rows, Unlike

STORE = Path(__file__).parent.parent / "models" / "store"
MODELS = ("credit", "housing", "income", "iris", "two-features")


@pytest.fixture(scope="module")
def shipped() -> dict[str, Model]:
    return {name: registry.load(STORE, name, "1", None) for name in MODELS}


def golden(model: Model) -> list[dict[str, Any]]:
    return [dict(instance) for instance in model.manifest.golden.instances]


def predicted(model: Model, instances: list[dict[str, Any]]) -> list[Any]:
    return model.predict(model.check(instances))


def culprits(model: Model, *instances: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(BadFeatures) as bad:
        model.check(instances)
    assert bad.value.total == len(bad.value.culprits)
    return [(culprit.pointer, culprit.detail) for culprit in bad.value.culprits]


def test_housing_answers_the_published_prices(shipped: dict[str, Model]) -> None:
    """50, 75 and 100 % old buildings cost 24.901049, 22.065760 and 19.230470 thousand dollars."""
    prices = [each.value for each in predicted(shipped["housing"], [{"age": age} for age in (50, 75, 100)])]

    assert [round(price, 6) for price in prices] == [24.901049, 22.06576, 19.23047]


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_does_not_depend_on_its_neighbours(shipped: dict[str, Model], name: str) -> None:
    """A row is answered with the same bits alone and in batches of any size and order."""
    model = shipped[name]
    alone = [(instance, predicted(model, [instance])[0]) for instance in golden(model)]
    shuffle = random.Random(7)

    for size in (2, 3, 5, 8, 64, 513):
        batch = shuffle.choices(alone, k=size)
        assert [expected for _, expected in batch] == predicted(model, [instance for instance, _ in batch])


@pytest.mark.parametrize("name", MODELS)
def test_joined_rows_answer_like_one_request(shipped: dict[str, Model], name: str) -> None:
    """Rows of several requests, joined, are predicted in their order with their own warnings."""
    model = shipped[name]
    instances = golden(model)
    parts = [model.check(instances[:1]), model.check(instances[1:4]), model.check(instances[4:])]

    assert predicted(model, instances) == model.predict(Rows.join(parts))


def test_every_culprit_is_named(shipped: dict[str, Model]) -> None:
    """Each value that cannot be predicted from has its pointer and what it must be, in the order of the request."""
    good = golden(shipped["income"])[0]
    lacking = {name: value for name, value in good.items() if name != "age"}

    found = culprits(shipped["income"], lacking, good, good | {"sex": None, "age": 39.0, "race": 5})

    assert found == [
        ("/instances/0/age", "is required"),
        ("/instances/2/age", "must be an integer"),
        ("/instances/2/race", "must be a string"),
        ("/instances/2/sex", "must not be null"),
    ]


@pytest.mark.parametrize("value", [True, "75", None, [75], {}, math.nan, math.inf, -math.inf, 10**400])
def test_a_number_is_a_finite_number(shipped: dict[str, Model], value: object) -> None:
    """What scikit-learn would convert, or predict from without a word, is refused; so is what no double can hold."""
    for neighbours in ([], [{"age": 5.0}], [{"age": 10**6}]):
        [(pointer, _)] = culprits(shipped["housing"], *neighbours, {"age": value})
        assert f"/instances/{len(neighbours)}/age" == pointer


def test_no_value_is_echoed(shipped: dict[str, Model]) -> None:
    """What a caller sent does not come back in what is said about it."""
    with pytest.raises(BadFeatures) as bad:
        shipped["iris"].check([dict.fromkeys(("sepal_length", "petal_width"), "secret-4711")])

    assert "secret" not in repr(bad.value.culprits) + str(bad.value)


def test_a_long_list_of_culprits_is_cut(shipped: dict[str, Model]) -> None:
    """The first twenty are listed, all are counted."""
    with pytest.raises(BadFeatures) as bad:
        shipped["iris"].check([{}] * 1000)

    assert bad.value.total == 4000
    assert len(bad.value.culprits) == LISTED_CULPRITS
    assert Culprit("/instances/4/petal_width", "is required") == bad.value.culprits[-1]


@pytest.mark.parametrize("text", ["1.5", "+1.5", ".15e1", "15E-1", "1.50"])
def test_text_may_be_a_number_where_the_model_says_so(shipped: dict[str, Model], text: str) -> None:
    """two-features takes decimal text and answers it like the number it stands for."""
    [as_text, as_number] = predicted(shipped["two-features"], [{"X1": text, "X2": "0"}, {"X1": 1.5, "X2": 0}])

    assert as_number == as_text


@pytest.mark.parametrize(
    "text", ["", "abc", "nan", "inf", "1_0", " 1", "1\n", "0x10", "٣", "1,5", "1e999", "-1e999"]
)
def test_text_that_is_no_number_is_refused(shipped: dict[str, Model], text: str) -> None:
    """Python would read some of these as a number; no caller means one by them."""
    [(pointer, _)] = culprits(shipped["two-features"], {"X1": 0, "X2": text})

    assert pointer == "/instances/0/X2"


@pytest.mark.parametrize("number", [1.7e308, -1.7e308, "1.7e308", 5e-324, -0.0, 2**53 + 1])
def test_extreme_numbers_are_answered(shipped: dict[str, Model], number: object) -> None:
    """Whatever double two-features lets in, its answer is finite."""
    [prediction] = predicted(shipped["two-features"], [{"X1": number, "X2": number}])

    assert 0 <= prediction.probability <= 1


def test_what_is_unlike_the_training_data_is_said(shipped: dict[str, Model]) -> None:
    """
    A number beyond the training range and a category training did not hold are answered with a warning, the
    same alone and in company.
    """
    good = golden(shipped["income"])[0]
    odd = good | {"age": 16, "hours_per_week": 120, "native_country": "Holand-Netherlands", "workclass": None}
    expected = (
        Unlike("age", "is below the training range 17 to 90"),
        Unlike("hours_per_week", "is above the training range 1 to 99"),
        Unlike("native_country", "is a category that the training data did not hold"),
    )

    alone, company = predicted(shipped["income"], [odd]), predicted(shipped["income"], [good, odd, good])

    assert expected == alone[0].unlike
    assert [(), expected, ()] == [prediction.unlike for prediction in company]


def test_missing_where_training_had_none_is_said(shipped: dict[str, Model]) -> None:
    """A feature that may be missing but never was in training earns a warning when it is, number or category."""
    profiles = shipped["income"].manifest.features
    features = Features([replace(profile, nullable=True, missing=0.0) for profile in profiles])

    [unlike] = features.check([{}]).unlike

    assert {"is missing, which it never was in the training data"} == {each.detail for each in unlike}
    assert [profile.name for profile in profiles] == [each.feature for each in unlike]


def test_a_missing_number_does_not_hide_its_neighbours(shipped: dict[str, Model]) -> None:
    """Beside a number that is missing, as in training, the others are still checked and compared."""
    [profile] = shipped["housing"].manifest.features
    features = Features([replace(profile, nullable=True, missing=0.5)])

    rows = features.check([{"age": None}, {"age": 50}, {"age": 101}])

    assert [len(unlike) for unlike in rows.unlike] == [0, 0, 1]
    with pytest.raises(BadFeatures, match="/instances/1/age must be finite"):
        features.check([{"age": None}, {"age": math.nan}])


def test_nothing_asked_is_nothing_answered(shipped: dict[str, Model]) -> None:
    """No instances are no rows and no predictions, without a call of the estimator."""
    assert predicted(shipped["income"], []) == []


class Stub:
    """An estimator that has gone wrong: it answers what it is told to."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def predict(self, _: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "gone_wrong", [ValueError("secret"), np.ones(2), np.ones((1, 1)), np.array([math.nan]), np.array([math.inf]), "x"]
)  # fmt: skip
def test_an_estimator_gone_wrong_answers_nobody(shipped: dict[str, Model], gone_wrong: object) -> None:
    """An error, another number of answers or one that is not finite is a failed prediction that tells no details."""
    model = Model(shipped["housing"].manifest, Stub(gone_wrong))

    with pytest.raises(PredictionFailed, match="model 'housing' version '1': predict ") as failed:
        predicted(model, [{"age": 50}])
    assert "secret" not in str(failed.value)
