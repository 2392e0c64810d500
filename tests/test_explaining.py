"""Why an answer came out as it did: base and contributions add up to it, and say what the estimator says."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from models import artefact, registry, training
from models.explaining import Explanation, explainer_of
from models.manifest import Manifest, encode, parse
from models.model import Model, Prediction, PredictionFailed, matrix
from models.origins import NotExplained
from models.reasons import Reasons
from models.recipe import DataSet, Recipe

STORE = Path(__file__).parent.parent / "models" / "store"
MODELS = ("credit", "housing", "income", "iris", "two-features")
FLOWERS = pd.DataFrame(
    {
        "length": [1.0, 1.5, 2.0, 3.5, 4.0, 5.0, 5.5, 7.0, 1.2, 6.1] * 6,
        "colour": ["red", "blue", None, "red", "blue", "red", None, "blue", "red", "blue"] * 6,
        "petals": [3, 4, 5, 5, 6, 8, 8, 9, 3, 8] * 6,
    }
)


def load(name: str) -> Model:
    return registry.load(STORE, name, "1", None)


def trained(pipeline: Any, truth: list[Any], positive: str | None = None) -> Model:
    """Train a model of flowers as a recipe would."""
    frame = FLOWERS.assign(truth=truth * (len(FLOWERS) // len(truth)))
    recipe = Recipe(
        model="flowers", title="Flowers", data=lambda _: data, pipeline=lambda: pipeline, positive=positive
    )
    data = DataSet(name="flowers", source="here", frame=frame)
    manifest, files = training.fit(recipe, data, "1", "2026-01-01T00:00:00Z")
    return Model(manifest, artefact.load(files["model.pkl"], manifest.globals))


def encoders() -> ColumnTransformer:
    return make_column_transformer(
        (KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), [2]),
        (OneHotEncoder(handle_unknown="ignore"), [1]),
        (StandardScaler(), [0]),
        sparse_threshold=1.0,
    )


def explained(model: Model, instances: list[Any]) -> tuple[list[Explanation], list[Prediction]]:
    rows = model.check(instances)
    predictions = model.predict(rows)
    return explainer_of(model.manifest, model.estimator).explain(rows, predictions), predictions


def score_of(model: Model, instances: list[Any]) -> list[float]:
    """Ask the estimator itself for the score that is explained, past everything of ours."""
    inputs = matrix(model.check(instances).columns, model.manifest.features, model.manifest.input)
    target = model.manifest.target
    if target.labels is None:
        return list(model.estimator.predict(inputs))
    if hasattr(model.estimator, "decision_function"):
        return list(
            model.estimator.decision_function(inputs) * (1 if target.positive == target.labels[1] else -1)
        )
    probabilities = model.estimator.predict_proba(inputs)
    if target.positive is not None:
        logarithms = model.estimator.predict_log_proba(inputs)
        return list(logarithms[:, 1] - logarithms[:, 0])
    return list(probabilities.max(axis=1))


@pytest.mark.parametrize("name", MODELS)
def test_base_and_contributions_add_up_to_the_score(name: str) -> None:
    """For each of the five examples the estimator's own score is met within 1e-9, in every row."""
    model = load(name)
    instances = [dict(each) for each in model.manifest.golden.instances]

    found, _ = explained(model, instances)

    totals = [each.base + sum(each.contributions) for each in found]
    assert totals == pytest.approx(score_of(model, instances), abs=1e-9, rel=1e-9)
    assert {len(each.contributions) for each in found} == {len(model.manifest.features)}


def test_a_probability_is_the_logistic_of_its_log_odds() -> None:
    """What a caller adds up is the probability it was answered, of the positive label even where that comes first."""
    for name in ("income", "credit", "two-features"):
        model = load(name)
        found, predictions = explained(model, [dict(each) for each in model.manifest.golden.instances])

        came = [1 / (1 + exp(-each.base - sum(each.contributions))) for each in found]
        assert came == pytest.approx([each.probability for each in predictions], abs=1e-9)
        assert {each.scale for each in found} == {"log-odds"}


def test_a_line_is_its_slope_times_the_distance_from_the_mean() -> None:
    """Housing's one contribution is the coefficient times the age's distance from the mean of 404 ages."""
    model = load("housing")
    slope, constant = model.estimator.coef_[0], model.estimator.intercept_

    found, _ = explained(model, [{"age": 50}, {"age": 51}])

    mean = (found[0].base - constant) / slope
    assert mean == pytest.approx(68.556, abs=0.5)
    assert [each.contributions[0] for each in found] == pytest.approx(
        [slope * (50 - mean), slope * (51 - mean)]
    )


@pytest.mark.parametrize("positive", ["rare", "usual"])
def test_one_hot_and_scaled_columns_lead_back_to_what_was_sent(positive: str) -> None:
    """Over the training rows every feature's contributions have the mean 0; changing a value moves its own alone."""
    model = trained(make_pipeline(encoders(), LogisticRegression()), ["rare", "usual", "usual"], positive)
    learnt, _ = training.split(FLOWERS.assign(truth=0))

    found, _ = explained(model, training.instances_of(learnt))
    means = np.mean([each.contributions for each in found], axis=0)
    assert means == pytest.approx(np.zeros(3), abs=1e-9)

    one = {"length": 2.5, "colour": "red", "petals": 5}
    before, after = explained(model, [one, one | {"petals": 9}])[0]
    moved = [a - b for a, b in zip(after.contributions, before.contributions, strict=True)]
    assert moved[:2] == [0, 0]
    assert moved[2] != 0


def test_the_unknown_and_the_missing_have_their_share() -> None:
    """A category that training never saw adds its mean's absence; a missing one is a value like any other."""
    model = trained(make_pipeline(encoders(), LogisticRegression()), ["rare", "usual", "usual"], "rare")
    colours = ["red", "blue", None, "ultraviolet"]
    instances = [{"length": 2.5, "colour": colour, "petals": 5} for colour in colours]

    found, _ = explained(model, instances)

    totals = [each.base + sum(each.contributions) for each in found]
    assert totals == pytest.approx(score_of(model, instances), abs=1e-9)
    coefficients = -model.estimator[-1].coef_[0][3:6]
    terms = dict(zip(model.estimator[0].transformers_[1][1].categories_[0], coefficients, strict=True))
    unknown = found[3].contributions[1]
    assert unknown == pytest.approx(-(model.manifest.features[1].baseline or 0))
    assert [each.contributions[1] - unknown for each in found[:3]] == pytest.approx(
        [terms["red"], terms["blue"], terms[None]]
    )


def test_a_forest_is_explained_as_shap_explains_it() -> None:
    """Each iris gets the Shapley values of its answered label, which add up to that label's probability."""
    import shap

    model = load("iris")
    instances = [dict(each) for each in model.manifest.golden.instances]
    inputs = np.array([list(each.values()) for each in instances])
    theirs = shap.TreeExplainer(model.estimator)

    found, predictions = explained(model, instances)

    for each, prediction, values in zip(found, predictions, theirs.shap_values(inputs), strict=True):
        place = list(model.estimator.classes_).index(prediction.label)
        assert each.contributions == pytest.approx(values[:, place], abs=1e-12)
        assert each.base == pytest.approx(theirs.expected_value[place])
        assert each.scale == "probability"


@pytest.mark.parametrize(
    ("forest", "truth", "positive", "scale"),
    [
        (RandomForestClassifier(5, random_state=1), ["rare", "usual", "usual"], "rare", "probability"),
        (RandomForestRegressor(5, random_state=1), [1.5, 2.5, 8.0, 0.5], None, "value"),
    ],
)
def test_trees_behind_encoders_lead_back_too(
    forest: Any, truth: list[Any], positive: str | None, scale: str
) -> None:
    """Two labels explain the positive one, a regressor its value; one-hot columns are joined again."""
    model = trained(make_pipeline(encoders(), forest), truth, positive)
    instances = [{"length": 2.5, "colour": colour, "petals": 5} for colour in ("red", None, "ultraviolet")]

    found, predictions = explained(model, instances)

    totals = [each.base + sum(each.contributions) for each in found]
    answered = [each.value if positive is None else each.probability for each in predictions]
    assert totals == pytest.approx(answered, abs=1e-9)
    assert {(each.scale, len(each.contributions)) for each in found} == {(scale, 3)}


@pytest.mark.parametrize("name", MODELS)
def test_an_explanation_does_not_depend_on_its_neighbours(name: str) -> None:
    """A row is explained with the same bits alone and among others, as replay needs it."""
    model = load(name)
    instances = [dict(each) for each in model.manifest.golden.instances]

    together, _ = explained(model, instances)

    assert together == [explained(model, [each])[0][0] for each in instances]


@pytest.mark.parametrize(
    ("pipeline", "truth", "positive", "why"),
    [
        (make_pipeline(encoders(), KNeighborsClassifier(2)), ["a", "b"], "a", "KNeighborsClassifier"),
        (make_pipeline(encoders(), LogisticRegression()), ["a", "b", "c"], None, "more than two labels"),
        (make_pipeline(encoders(), PCA(2), LinearRegression()), [1.0, 2.0], None, "its PCA"),
        (
            make_pipeline(make_column_transformer((OneHotEncoder(drop="first"), [2])), LinearRegression()),
            [1.0, 2.0],
            None,
            "drops or joins",
        ),
    ],
)
def test_what_has_no_exact_reasons_is_named(
    pipeline: Any, truth: list[Any], positive: str | None, why: str
) -> None:
    """An estimator that is neither additive nor trees, or mixes features, is trained, and refuses to give reasons."""
    model = trained(pipeline, truth, positive)

    with pytest.raises(NotExplained, match=why):
        explainer_of(model.manifest, model.estimator)
    assert {(each.baseline, each.importance) for each in model.manifest.features} == {(None, None)}
    assert "/explain" in [each.pointer for each in refused(model, {"colour": 5})]


def refused(model: Model, instance: dict[str, Any]) -> tuple[Any, ...]:
    """Ask for reasons of values that cannot be taken either."""
    from models.model import BadFeatures

    with pytest.raises(BadFeatures) as bad:
        Reasons(model).check([instance])
    assert bad.value.total == len(bad.value.culprits) == 4
    return bad.value.culprits


def test_a_version_older_than_explanations_says_so() -> None:
    """A manifest without baselines is read as before; only reasons are refused, with the cure."""
    model = load("housing")
    content = encode(model.manifest).decode()
    old = "\n".join(
        line for line in content.splitlines() if '"baseline"' not in line and '"importance"' not in line
    )
    manifest: Manifest = parse(old.replace('"text": false,', '"text": false').encode())

    with pytest.raises(NotExplained, match="retrain it"):
        explainer_of(manifest, model.estimator)
    assert replace(model.manifest.features[0], baseline=None, importance=None) == manifest.features[0]


def test_reasons_for_another_answer_never_leave() -> None:
    """Where contributions do not add up to the answer, the model is at fault, and nobody is told a tale."""
    model = load("housing")
    rows = model.check([{"age": 50}])
    explainer = explainer_of(model.manifest, model.estimator)

    with pytest.raises(PredictionFailed, match="do not add up"):
        explainer.explain(rows, [each._replace(value=24.9) for each in model.predict(rows)])


def test_naive_bayes_is_additive() -> None:
    """Its contributions are differences of log-densities, with the mean 0 over the rows it was trained on."""
    frame = FLOWERS[["length", "petals"]]
    model = trained_numbers(frame, GaussianNB())
    learnt, _ = training.split(frame.assign(truth=0))

    found, _ = explained(model, training.instances_of(learnt))

    assert np.mean([each.contributions for each in found], axis=0) == pytest.approx(np.zeros(2), abs=1e-9)


def trained_numbers(frame: pd.DataFrame, estimator: Any) -> Model:
    """Train a model of numbers alone, of two labels."""
    data = DataSet(name="n", source="here", frame=frame.assign(truth=["a", "b", "b"] * (len(frame) // 3)))
    recipe = Recipe(model="numbers", title="N", data=lambda _: data, pipeline=lambda: estimator, positive="b")
    manifest, files = training.fit(recipe, data, "1", "2026-01-01T00:00:00Z")
    return Model(manifest, artefact.load(files["model.pkl"], manifest.globals))
