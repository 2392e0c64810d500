"""A twin answers as its pickle does, whatever it is asked, or it does not come to answer at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from models import edges, registry, twin
from models.manifest import FeatureProfile
from models.model import Model
from tests.artefacts import MODEL, Shelf, line
from tests.service import ROOT
from tests.test_proving import plan, refused_change
from tests.twins import graph, put, serialized

STORE = ROOT / "models" / "store"
WAYS = {"credit": "linear", "housing": "linear", "income": "linear", "iris": "trees", "two-features": "onnx"}
LOADED = {name: registry.load(STORE, name, "1", None) for name in WAYS}

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, -0.0, 5e-324, 3.5e38, 1.7e308]),
    st.integers(-(10**6), 10**6),
)
integers = st.one_of(st.integers(0, 200), st.integers(-(10**25), 10**25))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Make a store of our own, with housing version 1 in it."""
    return Shelf(tmp_path / "store")


def values(profile: FeatureProfile) -> st.SearchStrategy[Any]:
    """Draw what a caller may send for one feature."""
    if profile.kind == "category":
        found: st.SearchStrategy[Any] = st.one_of(
            st.sampled_from(profile.categories or ()), st.text(max_size=20)
        )
    elif profile.kind == "boolean":
        found = st.booleans()
    else:
        inside = st.floats(profile.low or 0.0, profile.high or 0.0)
        found = integers if profile.kind == "integer" else st.one_of(inside, numbers)
    return st.one_of(st.none(), found) if profile.nullable else found


def rows(model: Model) -> st.SearchStrategy[list[Mapping[str, Any]]]:
    """Draw requests to a model."""
    one = st.fixed_dictionaries({each.name: values(each) for each in model.manifest.features})
    return st.lists(one, min_size=1, max_size=30)


def apart(model: Model, asked: list[Mapping[str, Any]]) -> list[float | None]:
    """Say how far the twin is from the pickle, row by row; None where it gives another answer."""
    assert model.twin is not None, model.twinless
    pairs = zip(twin.predictions(model, asked), twin.predictions(model.twin, asked), strict=True)
    return [twin.difference(*pair, model.manifest.tolerance) for pair in pairs]


@pytest.mark.parametrize("name", WAYS)
def test_every_example_has_a_twin(name: str) -> None:
    """Each shipped version has one that was proved on golden, held-out and generated rows, and it loads."""
    model = LOADED[name]

    assert model.manifest.twin is not None
    assert model.manifest.twin.way == WAYS[name]
    assert set(model.manifest.twin.cases) == {"golden", "held_out", "generated"}
    assert model.manifest.twin.largest_difference <= 1e-15
    assert model.twin is not None


@pytest.mark.parametrize("name", WAYS)
def test_a_twin_answers_as_its_pickle(name: str) -> None:
    """Whatever rows a caller sends, labels are equal, scores near, and one fails where the other does."""

    @settings(max_examples=50, deadline=None)
    @given(asked=rows(LOADED[name]))
    def holds(asked: list[Mapping[str, Any]]) -> None:
        assert None not in apart(LOADED[name], asked)

    holds()


@pytest.mark.parametrize("name", WAYS)
def test_the_generated_rows_hold_what_is_strange(name: str) -> None:
    """They ask every known category and an unknown one, missing values, both zeros, huge, tiny and whole numbers."""
    model = LOADED[name]
    asked = edges.instances(model)

    assert asked == edges.instances(model)
    for profile in model.manifest.features:
        came = [each[profile.name] for each in asked]
        assert (None in came) == profile.nullable
        if profile.kind == "category":
            assert {*(profile.categories or ()), "never seen", ""} <= set(came)
        elif profile.kind == "number":
            assert {"-0.0", "0.0", "5e-324", "1.7e+308"} <= set(map(str, came))
            assert {int, float} <= set(map(type, came))
        else:
            assert {0, 2**53 + 1, 10**30} <= set(came)


def test_an_honest_graph_is_registered(shelf: Shelf) -> None:
    """A graph that answers as the pickle does passes the proof of a registration, and loads."""
    found = put(shelf, "2", graph(LOADED[MODEL]))

    assert plan(shelf, "model.register", "2").apply is not None
    assert shelf.load(found).twin is not None


@pytest.mark.parametrize("lie", [("Less", -1e9), ("Greater", 1e17), ("Equal", 0.0), ("Greater", 100.0)])
def test_a_twin_that_lies_about_one_kind_of_row_is_found_out(shelf: Shelf, lie: tuple[str, float]) -> None:
    """Its golden answers are right, so it would load; the generated rows of a registration do not believe it."""
    loaded = shelf.load(put(shelf, "2", graph(LOADED[MODEL], lie)))

    assert loaded.twin is not None
    with pytest.raises(twin.TwinRefused, match=r"generated row \d+ is not answered as the pickle"):
        twin.insist(loaded)


def test_a_twin_that_lies_is_not_registered(shelf: Shelf) -> None:
    """A registration proves the twin anew, whatever the manifest claims, and refuses the version by name."""
    put(shelf, "2", graph(LOADED[MODEL], ("Greater", 100.0)))

    detail = refused_change(shelf, "model.register", "2")
    assert "its manifest claims a twin that does not hold: generated row" in detail


def test_a_claim_without_a_twin_is_not_registered(shelf: Shelf) -> None:
    """A manifest that says its trees were proved, where the pickle holds none, is refused by name."""
    loaded = shelf.load(put(shelf, "2", b"", way="trees", digest=None))

    with pytest.raises(twin.TwinRefused, match="neither a tree nor a forest"):
        twin.insist(loaded)


def test_a_version_serves_without_a_twin_that_is_wrong_here(shelf: Shelf) -> None:
    """Where a twin misses a golden answer, or other libraries run, the version loads without it and says why."""
    lying = put(shelf, "2", graph(LOADED[MODEL], ("Greater", 0.0)))
    older = put(shelf, "3", graph(LOADED[MODEL]), libraries={"onnxruntime": "1.2.0"})

    assert shelf.load(lying).twin is None
    assert shelf.load(lying).twinless == "golden row 0 is not answered as the pickle answers it"
    assert "it was proved with onnxruntime 1.2.0, this is" in shelf.load(older).twinless


def test_a_changed_file_of_a_twin_refuses_the_version(shelf: Shelf) -> None:
    """Other bytes, a link, more bytes or none in the place of model.onnx refuse it by name; off, nobody looks."""
    found = put(shelf, "2", graph(LOADED[MODEL]))
    file = shelf.folder("2") / "model.onnx"
    honest = file.read_bytes()

    def refusal() -> str:
        with pytest.raises(registry.ModelRefused) as refused:
            shelf.load(found)
        return refused.value.reason

    file.write_bytes(honest[:-1] + b"\0")
    assert "model.onnx has the digest" in refusal()
    file.write_bytes(honest + b"\0")
    assert "at most" in refusal()
    file.rename(shelf.store / "elsewhere")
    assert "model.onnx cannot be opened" in refusal()
    file.symlink_to(shelf.store / "elsewhere")
    assert "links are not followed" in refusal()
    assert shelf.load(found, twin=False).twin is None


def test_a_graph_that_reads_another_file_is_not_run(shelf: Shelf) -> None:
    """Weights outside of the hashed bytes could be exchanged unseen: such a graph never becomes a twin."""
    nodes = [helper.make_node("Mul", ["features", "slope"], ["price"])]
    made = helper.make_graph(
        nodes,
        "forged",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("price", TensorProto.DOUBLE, [None, 1])],
        [TensorProto(name="slope", data_type=TensorProto.DOUBLE, data_location=TensorProto.EXTERNAL)],
    )
    entry = made.initializer[0].external_data.add()
    entry.key, entry.value = "location", "weights"
    blob = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()

    assert "reads its weights from another file" in shelf.load(put(shelf, "2", blob)).twinless


def test_what_is_no_graph_is_no_twin(shelf: Shelf) -> None:
    """Bytes that are no graph, and a graph that answers nothing useful, leave the version to its pickle."""
    assert "onnxruntime does not take it" in shelf.load(put(shelf, "2", b"no graph")).twinless
    silent = serialized([helper.make_node("Log", ["features"], ["price"])], {})
    assert "golden row 0" in shelf.load(put(shelf, "3", silent)).twinless
    assert os.listdir(shelf.folder("3"))  # noqa: PTH208  # the store is as it was


def test_a_version_from_before_twins_answers_as_ever(shelf: Shelf) -> None:
    """A manifest without a word of a twin is read, and its pickle answers."""
    estimator = line()
    found = shelf.load(shelf.put_estimator("2", estimator, [(0.0, 30.0)]))

    assert (found.twin, found.twinless) == (None, "it was never compiled")
