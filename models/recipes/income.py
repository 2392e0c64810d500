"""Whether a person earned more than 50,000 $ a year, from the census of 1994."""

from pathlib import Path

from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder

from models.recipe import DataSet, Recipe, table

# How finely each number is cut. Income jumps at particular capital gains, which a straight line cannot follow:
# cut numbers answer 86.8 % of the held-out rows rightly, scaled ones 85.4 %.
BINS = {"age": 20, "education_num": 16, "capital_gain": 60, "capital_loss": 60, "hours_per_week": 20}

FEATURES = [
    "age", "workclass", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex",
    "capital_gain", "capital_loss", "hours_per_week", "native_country",
]  # fmt: skip


def data(folder: Path | None) -> DataSet:
    """48,842 persons. `fnlwgt`, how many people a row stands for, says nothing about the person and is left out."""
    frame, source = table(folder, "adult.csv", openml=1590)
    frame = frame.rename(columns=lambda name: name.replace("-", "_")).rename(columns={"class": "income"})
    frame = frame[[*FEATURES, "income"]]
    kinds = {name: int if name in BINS else object for name in frame.columns}
    return DataSet(name="Adult census income", source=source, frame=frame.astype(kinds))


def pipeline() -> Pipeline:
    """
    Every feature one-hot, numbers after being cut into bins; a category not met in training weighs nothing.

    Sparse throughout: 10,000 rows take 18 ms; with the bins dense, 29. Columns are taken by position from an array:
    by name from a frame, one row would take 6 ms instead of 3.
    """
    numbers = [FEATURES.index(name) for name in BINS]
    categories = [place for place in range(len(FEATURES)) if place not in numbers]
    bins = KBinsDiscretizer(list(BINS.values()), strategy="kmeans", subsample=None, random_state=42)
    columns = ColumnTransformer(
        [("numbers", bins, numbers), ("categories", OneHotEncoder(handle_unknown="ignore"), categories)],
        sparse_threshold=1.0,
    )
    return Pipeline([("columns", columns), ("classifier", LogisticRegression(max_iter=1000))])


RECIPE = Recipe(
    model="income",
    title="Income above 50,000 $ a year",
    data=data,
    pipeline=pipeline,
    positive=">50K",
)
