"""Which estimators get which twin, and what is said of those that get none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from models import registry, training
from models.compile import compile_twin
from models.manifest import Manifest
from models.recipe import DataSet, Recipe
from tests.test_twins import STORE

WHEN = "2026-11-25T00:00:00Z"


def table(target: str) -> DataSet:
    """Make a hundred rows: a number that may be missing where nothing forbids it, a whole number, a category."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame({"size": random.normal(0, 3, 100), "rooms": random.integers(1, 9, 100)})
    frame["street"] = random.choice(["north", "south", "west"], 100).astype(object)
    frame["y"] = frame["size"] * 2 + frame["rooms"] + random.normal(0, 1, 100)
    if target == "classes":
        frame["y"] = np.array(["low", "mid", "high"], dtype=object)[pd.qcut(frame["y"], 3, labels=False)]
    return DataSet(name="Made up", source="here", frame=frame)


def numeric(target: str) -> DataSet:
    """Leave the category away."""
    data = table(target)
    return DataSet(name=data.name, source=data.source, frame=data.frame.drop(columns="street"))


def gaps(target: str) -> DataSet:
    """Leave the category away, and let some numbers be missing."""
    data = numeric(target)
    data.frame.loc[::9, "size"] = np.nan
    return data


def columns(*numbers: Any) -> ColumnTransformer:
    return ColumnTransformer([*numbers, ("categories", OneHotEncoder(handle_unknown="ignore"), [2])])


def fitted(data: DataSet, pipeline: Callable[[], Any]) -> tuple[Manifest, dict[str, bytes]]:
    """Train a version of what is made up."""
    return training.fit(
        Recipe(model="made", title="Made", data=lambda _: data, pipeline=pipeline), data, "1", WHEN
    )


@pytest.mark.parametrize(
    ("data", "pipeline", "way"),
    [
        (numeric("values"), LinearRegression, "linear"),
        (numeric("classes"), lambda: make_pipeline(StandardScaler(with_mean=False), LogisticRegression()), "linear"),
        (
            table("classes"),
            lambda: make_pipeline(columns(("n", StandardScaler(with_std=False), [1, 0])), LogisticRegression()),
            "linear",
        ),
        (
            table("values"),
            lambda: make_pipeline(columns(("n", KBinsDiscretizer(4, quantile_method="linear"), [0])), Ridge()),
            "linear",
        ),
        (numeric("values"), lambda: ExtraTreesRegressor(10, random_state=1), "trees"),
        (numeric("classes"), lambda: DecisionTreeClassifier(random_state=1), "trees"),
        (gaps("classes"), lambda: RandomForestClassifier(10, random_state=1), "trees"),
    ],
)  # fmt: skip
def test_what_is_known_is_asked_directly(tmp_path: Path, data: DataSet, pipeline: Any, way: str) -> None:
    """Linear models over columns and trees get a twin without a file, also with gaps, many classes, unused columns."""
    manifest, files = fitted(data, pipeline)
    training.keep(tmp_path, manifest, files)

    assert manifest.twin is not None
    assert (manifest.twin.way, manifest.twin.why) == (way, "")
    assert set(files) == {"model.pkl"}
    assert registry.load(tmp_path, "made", "1", manifest.digest).twin is not None


@pytest.mark.parametrize(
    ("data", "pipeline", "why"),
    [
        (
            numeric("values"),
            lambda: GradientBoostingRegressor(n_estimators=20),
            "onnx: onnxruntime does not take it",
        ),
        (
            gaps("values"),
            lambda: HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5),
            "trees: HistGradientBoostingRegressor is neither a tree nor a forest; onnx: ",
        ),
    ],
)
def test_what_does_not_prove_itself_answers_by_its_pickle(
    tmp_path: Path, data: DataSet, pipeline: Any, why: str
) -> None:
    """A version whose twin cannot be made, or would be off, has none, and its manifest says why for every way."""
    manifest, files = fitted(data, pipeline)
    training.keep(tmp_path, manifest, files)

    assert manifest.twin is not None
    assert (manifest.twin.way, set(files)) == (None, {"model.pkl"})
    assert why in manifest.twin.why
    loaded = registry.load(tmp_path, "made", "1", manifest.digest)
    assert (loaded.twin, loaded.twinless) == (None, manifest.twin.why)


def test_a_twin_is_compiled_for_a_version_from_before(tmp_path: Path) -> None:
    """The command leaves the pickle alone, writes the graph and the manifest, and says what was proved."""
    folder = tmp_path / "two-features" / "1"
    folder.mkdir(parents=True)
    shipped = STORE / "two-features" / "1"
    for name in ("model.pkl", "manifest.json"):
        (folder / name).write_bytes((shipped / name).read_bytes())

    said = CliRunner().invoke(compile_twin, ["two-features", "1", "--store", str(tmp_path)])

    assert said.exit_code == 0, said.output
    assert said.output.startswith("two-features 1: twin: onnx, proved by 1,790 rows")
    assert {name.name for name in folder.iterdir()} == {"model.pkl", "manifest.json", "model.onnx"}
    assert registry.load(tmp_path, "two-features", "1", None).twin is not None
