"""A made-up question with two anonymous numbers: the smallest classifier, and a place to send numbers as text."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from models.recipe import DataSet, Recipe

SEED = 42
ROWS_PER_CLASS = 500


def data(_: Path | None) -> DataSet:
    """Two overlapping clouds: class "0" wide around (-1, -1), class "1" narrow around (1.5, 1)."""
    random = np.random.default_rng(SEED)
    wide = random.normal((-1.0, -1.0), (2.0, 1.5), (ROWS_PER_CLASS, 2))
    narrow = random.normal((1.5, 1.0), (1.0, 0.75), (ROWS_PER_CLASS, 2))
    frame = pd.DataFrame(np.vstack([wide, narrow]).round(3), columns=["X1", "X2"])
    frame["class"] = ["0"] * ROWS_PER_CLASS + ["1"] * ROWS_PER_CLASS
    return DataSet(name="Two clouds", source=f"synthetic, seed {SEED}", frame=frame)


def pipeline() -> Pipeline:
    """
    Squares of differences, summed over two columns: no BLAS, no order of summation to worry about.

    The scaler clips: beyond the training range the answer is that of its edge, so that 1e308 is answered too.
    """
    return make_pipeline(MinMaxScaler(clip=True), GaussianNB())


RECIPE = Recipe(
    model="two-features",
    title="Class of a point in a made-up plane",
    data=data,
    pipeline=pipeline,
    positive="1",
    text=frozenset({"X1", "X2"}),
)
