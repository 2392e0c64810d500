"""
The twin of a version: a faster way to the same answers, which has to prove itself before it may answer anybody.

Three ways are tried, the fastest and most exact first: the sum of a linear model (models/linear.py), trees asked
directly (models/trees.py), and an ONNX graph (models/graphs.py). What is proved is always the same: for the golden
instances, for the held-out rows where they are at hand, and for generated edge cases (models/edges.py), the labels
are those of the pickle and no score is further from the pickle's than the manifest's tolerance. The pickle stays the
truth: replays ask it, and so does whoever checks.
"""

import hashlib
from collections.abc import Mapping, Sequence
from math import isclose

import numpy as np

from models import edges, graphs, linear, registry, trees
from models.manifest import Twin, Way
from models.model import Model, Prediction, PredictionFailed, Score

WAYS: tuple[Way, ...] = ("linear", "trees", "onnx")
_REFUSALS = (linear.NotLinear, trees.NoTrees, graphs.NoGraph)

ALONE = 50  # rows that are asked one by one as well: most requests hold one row

Instances = Sequence[Mapping[str, object]]


class TwinRefused(Exception):
    """The twin does not answer as the pickle does, or cannot be made; says where, never with which values."""


def compiled(model: Model, held_out: Instances) -> tuple[Twin, bytes | None]:
    """Find a version's twin: the first way that proves itself, with the bytes of its file; or why there is none."""
    cases = _cases(model, held_out)
    reasons = []
    for way in WAYS:
        try:
            return _admitted(model, way, cases)
        except (TwinRefused, *_REFUSALS) as refused:
            reasons.append(f"{way}: {refused}")
    return _claim(None, why="; ".join(reasons)), None


def made(model: Model, blob: bytes | None) -> Model:
    """
    Make the twin that a manifest claims, from the pickle's estimator or from the bytes of its file.

    Raises:
        TwinRefused: it cannot be made here.
    """
    claim = model.manifest.twin
    if claim is None or claim.way is None:
        raise TwinRefused("it was never compiled" if claim is None else claim.why)
    for library, version, running in registry.differing(claim.libraries):
        raise TwinRefused(f"it was proved with {library} {version}, this is {running}")
    try:
        return Model(model.manifest, model.estimator, _score(model, claim.way, blob))
    except _REFUSALS as refused:
        raise TwinRefused(f"it cannot be made here: {refused}") from refused


def insist(model: Model) -> None:
    """
    Prove a loaded version's twin as at its making, but for the held-out rows, which a store does not have.

    Raises:
        TwinRefused: it was left out when the version was loaded, or answers a row otherwise.
    """
    twin = model.twin
    if twin is None:
        raise TwinRefused(model.twinless)
    for origin, instances in _cases(model, ()).items():
        _largest(model, twin, origin, instances)


def insist_on_golden(model: Model, twin: Model) -> None:
    """Ask a twin the golden instances alone, which is what a start has time for; raises TwinRefused."""
    _largest(model, twin, "golden", model.manifest.golden.instances)


def difference(expected: Prediction | None, came: Prediction | None, tolerance: float) -> float | None:
    """
    Say how far a twin's answer is from the pickle's, by the larger of 1 and the score; None where it is another answer.

    None for a prediction stands for one that failed: where the pickle fails, its twin has to.
    """
    if expected is None or came is None:
        return 0.0 if expected is came else None
    if expected.label != came.label:
        return None
    pairs = list(zip(_scores(expected), _scores(came), strict=True))
    if not all(isclose(left, right, rel_tol=tolerance, abs_tol=tolerance) for left, right in pairs):
        return None
    return max(abs(left - right) / max(1.0, abs(left), abs(right)) for left, right in pairs)


def predictions(model: Model, instances: Instances) -> list[Prediction | None]:
    """Answer every row; None where the model fails on it, found by halving."""
    try:
        with np.errstate(all="ignore"):  # beyond what an estimator can add up, its failure says enough
            return list(model.predict(model.check(instances)))
    except PredictionFailed:
        half = len(instances) // 2
        if not half:
            return [None]
        return predictions(model, instances[:half]) + predictions(model, instances[half:])


def _scores(prediction: Prediction) -> list[float]:
    if prediction.probabilities is not None:
        return list(prediction.probabilities.values())
    score = prediction.value if prediction.probability is None else prediction.probability
    return [] if score is None else [score]


def _score(model: Model, way: Way, blob: bytes | None) -> Score:
    manifest = model.manifest
    if way == "linear":
        return linear.score(model.estimator, manifest.features)
    if way == "trees":
        return trees.score(model.estimator, manifest.features)
    if blob is None:
        raise graphs.NoGraph(f"its {graphs.FILE} is not there")
    return graphs.score(blob, manifest.features, is_classifier=manifest.kind == "classifier")


def _cases(model: Model, held_out: Instances) -> dict[str, Instances]:
    found = {
        "golden": model.manifest.golden.instances,
        "held_out": held_out,
        "generated": edges.instances(model),
    }
    return {origin: instances for origin, instances in found.items() if instances}


def _admitted(model: Model, way: Way, cases: Mapping[str, Instances]) -> tuple[Twin, bytes | None]:
    blob = graphs.compiled(model.estimator, model.manifest.features) if way == "onnx" else None
    twin = Model(model.manifest, model.estimator, _score(model, way, blob))
    largest = max(_largest(model, twin, origin, instances) for origin, instances in cases.items())
    counts = {origin: len(instances) for origin, instances in cases.items()}
    return _claim(way, blob, cases=counts, largest_difference=largest), blob


def _claim(
    way: Way | None,
    blob: bytes | None = None,
    *,
    why: str = "",
    cases: Mapping[str, int] | None = None,
    largest_difference: float = 0.0,
) -> Twin:
    return Twin(
        way=way,
        why=why,
        digest=None if blob is None else hashlib.sha256(blob).hexdigest(),
        size_bytes=len(blob or b""),
        libraries=graphs.libraries() if way == "onnx" else {},
        cases=cases or {},
        largest_difference=largest_difference,
    )


def _largest(model: Model, twin: Model, origin: str, instances: Instances) -> float:
    """Hold the answers to some rows against each other, in one call and one by one; return the largest difference."""
    tolerance = model.manifest.tolerance
    expected, came = predictions(model, instances), predictions(twin, instances)
    alone = [predictions(twin, [each])[0] for each in instances[:ALONE]]
    found = 0.0
    for nth, (left, right) in enumerate(
        [*zip(expected, came, strict=True), *zip(expected, alone, strict=False)]
    ):
        apart = difference(left, right, tolerance)
        if apart is None:
            place = nth if nth < len(instances) else nth - len(instances)
            raise TwinRefused(f"{origin} row {place} is not answered as the pickle answers it")
        found = max(found, apart)
    return found
