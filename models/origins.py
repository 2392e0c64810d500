"""
Which feature each column comes from that an estimator sees after its pipeline's encoders.

Only encoders whose columns each come from one feature are known; one that mixes features (PCA, products) has no place
to lead a contribution back to, and is refused by name.
"""

from collections.abc import Sequence
from typing import Any

from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

_ONE_TO_ONE = (
    preprocessing.MaxAbsScaler,
    preprocessing.MinMaxScaler,
    preprocessing.OrdinalEncoder,
    preprocessing.PowerTransformer,
    preprocessing.QuantileTransformer,
    preprocessing.RobustScaler,
    preprocessing.StandardScaler,
)


class NotExplained(Exception):
    """A version whose answers cannot be led back to its features exactly; the message says why."""


def steps_of(estimator: Any) -> tuple[list[Any], Any]:
    """Part an estimator into its encoders and what answers at their end."""
    if not isinstance(estimator, Pipeline):
        return [], estimator
    *encoders, (_, final) = estimator.steps
    return [encoder for _, encoder in encoders], final


def origins(encoders: Sequence[Any], features: int) -> list[int]:
    """
    Name, for every column that leaves the last encoder, the place of the feature it was made from.

    Raises:
        NotExplained: one of the encoders is not known to keep its columns apart.
    """
    places = list(range(features))
    for encoder in encoders:
        places = _after(encoder, places)
    return places


def _after(encoder: Any, places: list[int]) -> list[int]:
    if encoder is None or isinstance(encoder, str):  # "passthrough"
        return places
    if isinstance(encoder, Pipeline):
        for _, each in encoder.steps:
            places = _after(each, places)
        return places
    if isinstance(encoder, ColumnTransformer):
        return _beside_one_another(encoder, places)
    if isinstance(encoder, _ONE_TO_ONE):
        return places
    if isinstance(encoder, preprocessing.OneHotEncoder | preprocessing.KBinsDiscretizer):
        widths = _widths(encoder)
        return [place for place, width in zip(places, widths, strict=True) for _ in range(width)]
    raise NotExplained(f"its {type(encoder).__name__} is not known to keep the features apart")


def _beside_one_another(encoder: ColumnTransformer, places: list[int]) -> list[int]:
    names = list(getattr(encoder, "feature_names_in_", ()))
    found: list[int] = []
    for _, each, columns in encoder.transformers_:
        if each is None or (isinstance(each, str) and each == "drop"):
            continue
        if isinstance(columns, str | int) or not hasattr(columns, "__iter__"):
            raise NotExplained("its ColumnTransformer names its columns otherwise than by a list")
        taken = [places[names.index(one) if isinstance(one, str) else int(one)] for one in columns]
        found += _after(each, taken)
    return found


def _widths(encoder: Any) -> list[int]:
    """Count the columns that each feature becomes."""
    if isinstance(encoder, preprocessing.KBinsDiscretizer):
        return [1 if encoder.encode == "ordinal" else int(bins) for bins in encoder.n_bins_]
    if encoder.drop is not None or encoder.min_frequency is not None or encoder.max_categories is not None:
        raise NotExplained("its OneHotEncoder drops or joins categories")
    return [len(categories) for categories in encoder.categories_]
