"""Graphs of our own for the housing model: one that is honest, and ones that lie about some ages."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from db.versions import Registered
from models.manifest import Twin
from models.model import Model
from tests.artefacts import Shelf

LIE = 2.0


def graph(model: Model, lie: tuple[str, float] | None = None) -> bytes:
    """Compile housing by hand; with a lie such as ("Greater", 1e17), ages of which that is true get a wrong price."""
    line = model.estimator
    constants = {
        "slope": line.coef_[0],
        "base": line.intercept_,
        "edge": lie[1] if lie else 0.0,
        "wrong": LIE,
    }
    nodes = [
        helper.make_node("Mul", ["features", "slope"], ["product"]),
        helper.make_node("Add", ["product", "base"], ["honest"]),
        helper.make_node(lie[0] if lie else "Greater", ["features", "edge"], ["is_special"]),
        helper.make_node("Mul", ["honest", "wrong"], ["lied"]),
        helper.make_node("Where", ["is_special", "lied" if lie else "honest", "honest"], ["price"]),
    ]
    return serialized(nodes, constants)


def serialized(nodes: list[Any], constants: dict[str, float]) -> bytes:
    """Make a graph that takes a column of doubles and answers one."""
    made = helper.make_graph(
        nodes,
        "forged",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("price", TensorProto.DOUBLE, [None, 1])],
        [numpy_helper.from_array(np.array(value, dtype=float), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())


def claim(blob: bytes, **others: Any) -> Twin:
    """Claim for exact bytes what a proof would have said."""
    told: dict[str, Any] = {
        "way": "onnx",
        "why": "",
        "digest": hashlib.sha256(blob).hexdigest(),
        "size_bytes": len(blob),
        "libraries": {},
        "cases": {"golden": 10},
        "largest_difference": 0.0,
    }
    return Twin(**(told | others))


def put(shelf: Shelf, version: str, blob: bytes, **others: Any) -> Registered:
    """Put a housing into a store whose pickle is the shipped one and whose twin is these bytes."""
    pickle = (shelf.folder() / "model.pkl").read_bytes()
    shelf.put(version, pickle, twin=claim(blob, **others))
    (shelf.folder(version) / "model.onnx").write_bytes(blob)
    return shelf.registered(version)
