"""
Twins as ONNX graphs: compiled once by skl2onnx, run by onnxruntime, in doubles wherever its operators know them.

A graph is data and no code, but not harmless: it may name other files to read its weights from. Such a graph is
refused, so that what runs is what was hashed.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import metadata
from typing import Any

import numpy as np

from models.features import Column
from models.manifest import FeatureProfile
from models.model import Score, matrix

FILE = "model.onnx"
LARGEST_BYTES = 256_000_000
_NAME = "onrecord"  # else it is a random one, and the same pickle gives other bytes each time
_ALL = "features"  # the one input, where every feature is a number


class NoGraph(Exception):
    """The estimator does not become a graph, or the bytes are none that is run."""


def compiled(estimator: Any, features: Sequence[FeatureProfile]) -> bytes:
    """
    Compile an estimator; takes seconds.

    Raises:
        NoGraph: a step of it is not known to the converter.
    """
    from skl2onnx import to_onnx

    estimator = deepcopy(estimator)  # the converter may leave marks on it
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "classes_") else None
    try:
        graph = to_onnx(estimator, initial_types=_inputs(features), options=options, name=_NAME)
    except Exception as error:  # what a converter raises has no common name
        raise NoGraph(f"skl2onnx does not convert it ({type(error).__name__})") from error
    return bytes(graph.SerializeToString())


def score(blob: bytes, features: Sequence[FeatureProfile], *, is_classifier: bool) -> Score:
    """
    Make a graph ready to be asked, in this thread and no other.

    Raises:
        NoGraph: onnxruntime does not take it, or it names other files.
    """
    import onnxruntime

    if b"location" in blob:  # the key under which a tensor names a file (onnx.proto, external_data)
        raise NoGraph("it reads its weights from another file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised; nothing is to be printed besides
    try:
        session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common ancestor
        raise NoGraph(f"onnxruntime does not take it ({type(error).__name__})") from error
    output = session.get_outputs()[-1].name  # a classifier's first output is its label

    def scores(columns: Sequence[Column]) -> Any:
        answers = session.run([output], _fed(columns, features))[0]
        return answers if is_classifier else answers.reshape(-1)

    return scores


def libraries() -> dict[str, str]:
    """Name what a graph is run by."""
    return {"onnxruntime": metadata.version("onnxruntime")}


def _is_number(feature: FeatureProfile) -> bool:
    return feature.kind != "category"


def _inputs(features: Sequence[FeatureProfile]) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    if all(map(_is_number, features)):
        return [(_ALL, DoubleTensorType([None, len(features)]))]
    return [
        (each.name, (DoubleTensorType if _is_number(each) else StringTensorType)([None, 1]))
        for each in features
    ]


def _fed(columns: Sequence[Column], features: Sequence[FeatureProfile]) -> Mapping[str, Any]:
    if all(map(_is_number, features)):
        return {_ALL: matrix(columns, features, "array")}
    return {
        each.name: np.array(column, dtype=float if _is_number(each) else object).reshape(-1, 1)
        for each, column in zip(features, columns, strict=True)
    }
