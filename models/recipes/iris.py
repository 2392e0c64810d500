"""The species of an iris from four measures of its flower."""

from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from models.recipe import DataSet, Recipe


def data(_: Path | None) -> DataSet:
    """150 flowers that come with scikit-learn itself."""
    bundle = load_iris(as_frame=True)
    frame = bundle.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    frame["species"] = [str(bundle.target_names[place]) for place in bundle.target]
    return DataSet(name="Iris", source="sklearn.datasets.load_iris", frame=frame)


def pipeline() -> RandomForestClassifier:
    """More than fifty trees make 150 flowers no clearer, only slower."""
    return RandomForestClassifier(n_estimators=50, random_state=42)


RECIPE = Recipe(model="iris", title="Species of an iris flower", data=data, pipeline=pipeline)
