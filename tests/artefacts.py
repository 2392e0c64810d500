"""Stores of our own, with versions of the housing model that are real pickles and misbehave as told."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from db.versions import Registered
from models import artefact, registry
from models import manifest as manifests
from models.manifest import Golden, Manifest
from tests.service import ROOT

SHIPPED = ROOT / "models" / "store"
MODEL = "housing"


class Shelf:
    """A copy of the shipped store; versions of housing are put beside the shipped one."""

    def __init__(self, store: Path) -> None:
        self.store = store
        if not store.exists():
            shutil.copytree(SHIPPED, store)

    def folder(self, version: str = "1") -> Path:
        return self.store / MODEL / version

    def manifest(self, version: str = "1") -> Manifest:
        return manifests.read(self.folder(version) / "manifest.json")

    def put(self, version: str, blob: bytes, **claims: Any) -> Registered:
        """Write a version around exact bytes, its manifest true to them unless told, as registration would see it."""
        exact = {"version": version, "digest": _sha256(blob), "size_bytes": len(blob), "twin": None}
        made = replace(self.manifest(), **(exact | claims))
        self.folder(version).mkdir(exist_ok=True)
        (self.folder(version) / "model.pkl").write_bytes(blob)
        (self.folder(version) / "manifest.json").write_bytes(manifests.encode(made))
        return self.registered(version)

    def put_estimator(
        self, version: str, estimator: object, golden: Sequence[tuple[float, float]]
    ) -> Registered:
        """Write a version as training would, except that its golden (age, price) pairs are chosen."""
        blob, names = artefact.dump(estimator)
        instances = tuple({"age": age} for age, _ in golden)
        outputs = tuple({"price": price} for _, price in golden)
        return self.put(
            version,
            blob,
            globals=names,
            estimator=registry.qualified_name(estimator),
            golden=Golden(instances=instances, outputs=outputs, tolerance=1e-9),
        )

    def registered(self, version: str = "1") -> Registered:
        """Describe a version as its registration right now would."""
        digest, manifest = registry.claimed(self.store, MODEL, version)
        return Registered(model=MODEL, version=version, digest=digest, manifest=manifest, registered_at_us=1)

    def load(self, found: Registered, **terms: Any) -> Any:
        """Load a version on the terms of its registration."""
        asked = registry.Terms(manifest=found.manifest, **terms)
        return registry.load(self.store, MODEL, found.version, found.digest, asked)


def _sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


class TouchesAFile:
    """What an attacker would put into a pickle: loading it runs a call."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.open, (str(self.canary), os.O_CREAT)


def tree(change: Callable[[Any, Any], None]) -> DecisionTreeRegressor:
    """Fit a tree of one question, old or new (24 below an age of 35, 20 above), then change its nodes and values."""
    estimator = DecisionTreeRegressor(max_depth=1).fit(
        [[0.0], [10.0], [60.0], [70.0]], [24.0, 24.0, 20.0, 20.0]
    )
    state = estimator.tree_.__getstate__()
    change(state["nodes"], state["values"])
    estimator.tree_.__setstate__(state)
    return estimator


def _hang(nodes: Any, _values: Any) -> None:
    nodes["right_child"][0] = 0  # back to the first question, for ever


def _crash(nodes: Any, _values: Any) -> None:
    nodes["left_child"][0] = 1 << 40  # far outside of the process


def _nan(_nodes: Any, values: Any) -> None:
    values[2] = np.nan


def hanging() -> DecisionTreeRegressor:
    """Make a model that never answers for an age above 35."""
    return tree(_hang)


def crashing() -> DecisionTreeRegressor:
    """Make a model that kills its process for an age below 35."""
    return tree(_crash)


def undefined() -> DecisionTreeRegressor:
    """Make a model that answers NaN for an age above 35."""
    return tree(_nan)


def line(**attributes: Any) -> LinearRegression:
    """Fit price = 30 - age / 10 and change what was learnt."""
    estimator = LinearRegression().fit([[0.0], [100.0]], [30.0, 20.0])
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def nearest() -> Any:
    """An honest estimator whose answers nobody can lead back to features: it looks at its neighbours."""
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(1).fit(np.array([[1.0], [99.0]]), [24.0, 20.0])


def always_two() -> LinearRegression:
    """Make a model that answers two prices for one row, and is right about two rows."""
    return line(intercept_=np.array([30.0, 30.0]))


def of_objects() -> LinearRegression:
    """Make a model whose answers are Python objects."""
    return line(coef_=np.array([-0.1], dtype=object))


def log_lines(text: str, event: str) -> list[dict[str, Any]]:
    """Read the lines of a log that tell of one kind of event."""
    found = [json.loads(each) for each in text.splitlines() if each.startswith("{")]
    return [each for each in found if each.get("event") == event]
