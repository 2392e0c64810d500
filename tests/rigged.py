"""Artefacts that a store would hold if someone had trained them: another version of a model, one that never answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models import artefact, manifest, registry
from models.manifest import Golden
from models.model import Model, answer

STORE = Path("models/store")
_TREES = 6_000_000  # one tree, so many times: some minutes for one row, a few megabytes


def another_version(store: Path, version: str, factor: float = 2.0) -> str:
    """Put a housing into the store that answers other prices; return its digest."""
    estimator, about = _housing()
    linear = estimator[-1] if hasattr(estimator, "__getitem__") else estimator
    linear.intercept_ = linear.intercept_ * factor
    model = Model(about, estimator)
    instances = about.golden.instances
    outputs = tuple(answer(each, about.target) for each in model.predict(model.check(instances)))
    return _put(store, version, estimator, golden=replace(about.golden, outputs=outputs))


def endless_version(store: Path, version: str) -> str:
    """Put a housing into the store whose predict takes minutes; return its digest."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(n_estimators=1, random_state=1).fit(np.array([[1.0], [2.0]]), [1.0, 2.0])
    forest.estimators_ = forest.estimators_ * _TREES
    return _put(store, version, forest)


def _housing() -> tuple[Any, Any]:
    about = manifest.read(STORE / "housing" / "1" / "manifest.json")
    return registry.load(STORE, "housing", "1", about.digest).estimator, about


def _put(store: Path, version: str, estimator: Any, golden: Golden | None = None) -> str:
    blob, named = artefact.dump(estimator)
    _, about = _housing()
    claims = replace(
        about,
        version=version,
        digest=hashlib.sha256(blob).hexdigest(),
        size_bytes=len(blob),
        estimator=registry.qualified_name(estimator),
        globals=named,
        golden=golden or about.golden,
        twin=None,
    )
    folder = store / "housing" / version
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(blob)
    (folder / "manifest.json").write_bytes(manifest.encode(claims))
    return claims.digest


def golden_instances(model: str, count: int) -> list[dict[str, Any]]:
    """As many instances of a model as wanted."""
    found = json.loads((STORE / model / "1" / "manifest.json").read_text())["golden"]["instances"]
    return [found[place % len(found)] for place in range(count)]
