"""
What a recipe must say to train one model, and where its rows come from. The rest is models/training.py.

One habit keeps a row's answer the same whatever rows stand beside it, which replay depends on: one-hot columns go to
the linear model sparse. A sparse product adds up row by row, while BLAS sums in another order for one row than for
many, and differs in the last bit. Another keeps answers quick: few, plain steps, since each of them costs about half
a millisecond per call, however small the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd


class DataMissing(Exception):
    """The rows to train from cannot be had; says where they were looked for and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A table with the features in their order and the target last. Its column types decide the kinds of features."""

    name: str
    source: str
    frame: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One model to train: a classifier when the target's column holds text, else a regressor."""

    model: str
    title: str
    data: Callable[[Path | None], DataSet]  # given the folder of CSV files, or None for OpenML
    pipeline: Callable[[], Any]  # a fresh, unfitted estimator of library classes only
    unit: str | None = None  # of the target
    positive: str | None = None  # the label whose probability is answered, when there are two
    text: frozenset[str] = frozenset()  # numeric features that may also come as decimal text
    input: Literal["array", "frame"] = "array"


def table(folder: Path | None, file: str, *, openml: int) -> tuple[pd.DataFrame, str]:
    """
    Read a table with its source: from the folder where one is given, else from OpenML by its number.

    Raises:
        DataMissing: there is no such file, or OpenML cannot be reached.
    """
    if folder is None:
        return _from_openml(openml, file), f"OpenML {openml}"
    try:
        return pd.read_csv(folder / file), file
    except FileNotFoundError as error:
        raise DataMissing(f"{folder} holds no {file}; name the folder that does by --data") from error


def _from_openml(number: int, file: str) -> pd.DataFrame:
    from sklearn.datasets import fetch_openml

    try:
        return fetch_openml(data_id=number, as_frame=True, parser="auto").frame
    except OSError as error:
        raise DataMissing(
            f"OpenML data set {number} cannot be fetched ({error}); "
            f"name a folder that holds {file} by --data or ONRECORD_DATASETS"
        ) from error
