"""Every example can be trained again, is as good as it says, and is what its contract describes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import yaml
from click.testing import CliRunner, Result
from sklearn.linear_model import LinearRegression

from models import registry, training
from models.manifest import Manifest
from models.model import answer
from models.recipe import DataSet, Recipe
from models.recipes import credit, housing, income
from models.train import RECIPES, train
from tests.conftest import must_have

ROOT = Path(__file__).parent.parent
STORE = ROOT / "models" / "store"
DATA = os.environ.get("ONRECORD_DATASETS")
MODELS = sorted(RECIPES)
FROM_FILES = {"housing": "boston_housing.csv", "income": "adult.csv", "credit": "german_credit.csv"}


def data_for(model: str) -> Path | None:
    if model not in FROM_FILES:
        return None
    if DATA is None:
        must_have("ONRECORD_DATASETS, the folder of CSV files,")
    return Path(str(DATA)).resolve()


def shipped(model: str) -> Manifest:
    return registry.load(STORE, model, "1", None).manifest


def measured(manifest: Manifest) -> list[float]:
    """What training found of its calibration and its ROC curve, or of its actual values, in a row."""
    found, curve = manifest.calibration, manifest.curve
    if manifest.actuals is not None:
        return [each for values in asdict(manifest.actuals).values() for each in values]
    drawn = [] if curve is None else [*curve.false_positive_rate, *curve.true_positive_rate]
    return drawn if found is None else [*found.predicted, *found.observed, *found.counts, *drawn]


def contract(model: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / "openapi" / "models" / f"{model}.yaml").read_text())
    return described


def run(*arguments: str, data: str | None = DATA) -> Result:
    return CliRunner().invoke(train, arguments, env={"ONRECORD_DATASETS": data})


@pytest.mark.parametrize("model", MODELS)
def test_training_again_gives_the_shipped_model(tmp_path: Path, model: str) -> None:
    """A retrained version has the shipped one's data, features and metrics, and gives its golden answers."""
    data_for(model)

    result = run(model, "--store", str(tmp_path))

    assert result.exit_code == 0, result.output
    again, before = registry.load(tmp_path, model, "1", None), shipped(model)
    assert again.manifest.data == before.data
    assert again.manifest.features == before.features
    assert again.manifest.metrics == pytest.approx(before.metrics, abs=1e-6)
    assert measured(again.manifest)
    assert measured(again.manifest) == pytest.approx(measured(before), abs=1e-6)
    answers = again.predict(again.check(before.golden.instances))
    for expected, came in zip(before.golden.outputs, answers, strict=True):
        assert registry.agree(expected, answer(came, before.target), 1e-6)


@pytest.mark.parametrize(
    ("model", "metric", "least"),
    [
        ("income", "accuracy_score", 0.85),
        ("credit", "roc_auc_score", 0.75),
        ("iris", "accuracy_score", 0.9),
        ("two-features", "accuracy_score", 0.9),
        ("housing", "r2_score", 0.2),
    ],
)
def test_a_model_is_as_good_as_it_must_be(model: str, metric: str, least: float) -> None:
    """On the fifth of the rows that training did not see, each example reaches what is promised of it."""
    assert shipped(model).metrics[metric] >= least


@pytest.mark.parametrize(("model", "recipe"), [("income", income), ("credit", credit)])
def test_the_metrics_are_those_of_the_held_out_rows(model: str, recipe: Any) -> None:
    """Splitting the file again and asking the shipped model gives the accuracy its manifest claims."""
    frame = recipe.data(data_for(model)).frame
    loaded = registry.load(STORE, model, "1", None)
    held_out = training.split(frame)[1]

    predictions = loaded.predict(loaded.check(training.instances_of(held_out)))

    right = np.mean([each.label for each in predictions] == held_out.iloc[:, -1].to_numpy(object))
    assert right == pytest.approx(loaded.manifest.metrics["accuracy_score"])


@pytest.mark.parametrize("model", MODELS)
def test_contract_and_manifest_have_the_same_features(model: str) -> None:
    """Names, order, kinds, categories and what may be null are the same in the contract as in training."""
    described, manifest = contract(model), shipped(model)
    kinds = {"category": "string", "integer": "integer", "number": "number", "boolean": "boolean"}

    assert list(described["features"]) == [feature.name for feature in manifest.features]
    for feature in manifest.features:
        schema = described["features"][feature.name]
        allowed = schema.get("enum", [])
        assert schema.get("nullable", False) == feature.nullable == (None in allowed)
        assert set(feature.categories or ()) <= set(allowed)
        types = [schema["type"]] if "type" in schema else [each["type"] for each in schema["oneOf"]]
        assert types == [kinds[feature.kind], *(["string"] if feature.text else [])]


@pytest.mark.parametrize("model", MODELS)
def test_the_contract_allows_what_training_saw(model: str) -> None:
    """No range of the contract is narrower than that of the training rows, and every feature is explained."""
    features = contract(model)["features"]

    for feature in shipped(model).features:
        schema = features[feature.name]
        assert schema["description"]
        assert "example" in schema
        if "minimum" in schema:
            assert schema["minimum"] <= feature.low <= feature.high <= schema["maximum"]
        else:
            assert "enum" in schema or "oneOf" in schema


@pytest.mark.parametrize("model", MODELS)
def test_contract_and_manifest_have_the_same_answer(model: str) -> None:
    """Title, labels in their order, the positive one, or the name and unit of the value are those of the model."""
    described, manifest = contract(model), shipped(model)
    output = described["output"]

    assert (described["model"], described["title"]) == (model, manifest.title)
    assert output["kind"] == manifest.kind
    if manifest.kind == "regressor":
        assert (output["name"], output["x-unit"]) == (manifest.target.name, manifest.target.unit)
    else:
        assert output["labels"] == list(manifest.target.labels or ())
        assert output.get("positive") == manifest.target.positive


@pytest.mark.parametrize("model", MODELS)
def test_the_examples_of_the_contract_are_answered(model: str) -> None:
    """Every example instance gets a prediction, and one that promises a warning gets one."""
    loaded = registry.load(STORE, model, "1", None)

    for example in contract(model)["examples"]:
        predictions = loaded.predict(loaded.check(example["instances"]))
        assert len(predictions) == len(example["instances"])
        assert any(each.unlike for each in predictions) == ("warning" in example["summary"])


def openml_adult(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"income": "class"}).rename(columns=lambda name: name.replace("_", "-"))


def openml_credit(frame: pd.DataFrame) -> pd.DataFrame:
    theirs = {
        name: frame[ours].replace({own: foreign for foreign, own in categories.items()})
        for ours, (name, categories) in credit.OPENML.items()
    }
    return pd.DataFrame(theirs | {"class": frame["credit_risk"].map({0: "bad", 1: "good"})})


def openml_boston(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns=str.upper)


@pytest.mark.parametrize(
    ("model", "recipe", "as_openml"),
    [
        ("housing", housing, openml_boston),
        ("income", income, openml_adult),
        ("credit", credit, openml_credit),
    ],
)
def test_openml_gives_the_same_rows_as_the_files(
    monkeypatch: pytest.MonkeyPatch, model: str, recipe: Any, as_openml: Any
) -> None:
    """Under OpenML's names and types, with categories for text, the table comes out as from the CSV file."""
    folder = data_for(model)
    frame = as_openml(pd.read_csv(f"{folder}/{FROM_FILES[model]}"))
    text = {name: "category" for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
    bunch = sklearn.utils.Bunch(frame=frame.astype(text))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda **_: bunch)

    pd.testing.assert_frame_equal(recipe.data(folder).frame, recipe.data(None).frame)


def test_every_category_of_the_loans_has_one_name_at_openml() -> None:
    """The translation is one to one; of the purposes, whose labels differ in meaning, the numbers of loans tell."""
    frame = credit.data(data_for("credit")).frame
    purposes = {own: foreign for foreign, own in credit.OPENML["purpose"][1].items()}

    for name, (_, categories) in credit.OPENML.items():
        assert len(set(categories.values())) == len(categories)
        assert set(categories.values()) <= set(frame[name])
    assert frame["purpose"].map(purposes).value_counts().to_dict() == {
        "radio/tv": 280, "new car": 234, "furniture/equipment": 181, "used car": 103, "business": 97,
        "education": 50, "repairs": 22, "domestic appliance": 12, "other": 12, "retraining": 9,
    }  # fmt: skip


def test_an_unreachable_openml_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a folder and without a network, training says what it looked for and how to give it."""

    def unreachable(**_: object) -> None:
        raise ConnectionRefusedError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", unreachable)

    result = run("income", "--store", str(tmp_path), data=None)

    assert result.exit_code == 1
    assert "OpenML data set 1590 cannot be fetched (no network)" in result.output
    assert "adult.csv by --data or ONRECORD_DATASETS" in result.output


def test_a_folder_without_the_file_is_explained(tmp_path: Path) -> None:
    """Where the named folder lacks the file, training names both."""
    result = run("housing", "--data", str(tmp_path), "--store", str(tmp_path))

    assert result.exit_code == 1
    assert "boston_housing.csv" in result.output


def test_versions_are_numbered_on_and_never_overwritten(tmp_path: Path) -> None:
    """The next free number is taken; a version that exists, or a name that is a path, is refused."""
    store = ["--store", str(tmp_path)]

    assert [run("two-features", *store).exit_code for _ in range(2)] == [0, 0]
    assert registry.listing(tmp_path) == [("two-features", "1"), ("two-features", "2")]
    assert "never overwritten" in run("two-features", "--version", "2", *store).output
    assert "lower-case letters" in run("two-features", "--version", "../3", *store).output
    assert not (tmp_path / "3").exists()
    assert registry.listing(tmp_path) == [("two-features", "1"), ("two-features", "2")]


def made_up(_: Path | None) -> DataSet:
    numbers = np.arange(40.0)
    frame = pd.DataFrame({"a": numbers, "b": numbers % 2 > 0, "y": 3 * numbers})
    frame.loc[3, "a"] = np.nan
    return DataSet(name="Made up", source="here", frame=frame.astype({"b": bool}))


@pytest.fixture
def framed(tmp_path: Path) -> Iterator[Path]:
    """A version whose estimator wants a DataFrame, with a number that may be missing and a boolean."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    def pipeline() -> Any:
        return make_pipeline(SimpleImputer(), LinearRegression())

    recipe = Recipe(model="framed", title="Framed", data=made_up, pipeline=pipeline, input="frame")
    training.keep(tmp_path, *training.fit(recipe, made_up(None), "1", "2026-11-20T00:00:00Z"))
    yield tmp_path


def test_an_estimator_may_want_a_frame(framed: Path) -> None:
    """A version fitted on a DataFrame is served one, by names, with what is missing left missing."""
    model = registry.load(framed, "framed", "1", None)

    answers = model.predict(model.check([{"b": True, "a": 7}, {"a": None, "b": False}]))

    expected = model.estimator.predict(pd.DataFrame({"a": [7.0, np.nan], "b": [1.0, 0.0]}))
    assert [each.value for each in answers] == expected.tolist()
    assert json.loads((framed / "framed" / "1" / "manifest.json").read_text())["libraries"]["pandas"]
