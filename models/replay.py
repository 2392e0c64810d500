"""
One recorded request answered again, in a process that does nothing else: `python -m models.replay`.

Standard input holds a line of JSON that says which artefact and within what time, then the exact bytes of the request.
Standard output gets one JSON object: what was answered, or why nothing can be, and what runs here. The process is
given nothing it does not need (no key, no database, no socket, no environment), and ends by itself when its time is up,
also where whoever started it has died. Always the pickle answers, whatever else a version may carry.
"""

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from models import registry, signing, warming
from models.model import BadFeatures, Model, PredictionFailed, answer
from models.registry import ModelRefused, Terms

if TYPE_CHECKING:
    from models.reasons import Reasons

NICENESS = 10  # live predictions first


def answered(model: Model, body: bytes) -> dict[str, Any]:
    """Answer the exact bytes of a request as a live one is answered, in parts that JSON can carry."""
    try:
        asked = orjson.loads(body)
        instances = asked["instances"]
        reasons = _reasons(model) if asked.get("explain") else None
        rows = (reasons or model).check(instances)
        predictions = model.predict(rows)
        told: Iterable[dict[str, object]] = (
            reasons.tell(instances, rows, predictions) if reasons else repeat({})
        )
    except BadFeatures as refused:
        culprits = [{"pointer": each.pointer, "detail": each.detail} for each in refused.culprits]
        return {"is": "invalid", "culprits": culprits, "total": refused.total}
    except PredictionFailed:
        return {"is": "failed"}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"is": "malformed"}
    target = model.manifest.target
    return {
        "is": "answered",
        "references": [instance.get("reference") for instance in instances],
        "answers": [answer(each, target) | why for each, why in zip(predictions, told, strict=False)],
        "unlike": [[[each.feature, each.detail] for each in one.unlike] for one in predictions],
    }


def _reasons(model: Model) -> "Reasons":
    from models.reasons import Reasons  # what it needs, most replays do not

    return Reasons(model)


def replayed(question: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """Load the artefact that is asked for, and no other, and answer with it; say why where that cannot be."""
    if differing := list(registry.differing(question["libraries"])):
        return {"is": "libraries", "differing": differing}
    store, model, version = Path(question["store"]), question["model"], question["version"]
    try:
        loaded = registry.load(store, model, version, question["digest"], _terms(question))
    except ModelRefused as refused:
        return {"is": "artefact", "reason": refused.reason}
    libraries = {name: registry.installed(name) for name in loaded.manifest.libraries}
    environment = {"runtime": "pickle", "libraries": libraries, "process": registry.process()}
    return answered(loaded, body) | {"environment": environment}


def _terms(question: Mapping[str, Any]) -> Terms:
    path = question["publishers"]
    return Terms(
        manifest=question["manifest"],
        publishers=() if path is None else signing.publishers(Path(path)),
        largest_bytes=question["largest_bytes"],
        twin=False,
    )


def main() -> None:
    """Be the process: one question, one answer."""
    line, _, body = sys.stdin.buffer.read().partition(b"\n")
    question = orjson.loads(line)
    signal.alarm(question["seconds"])  # its default action ends the process, whatever code is running
    os.nice(NICENESS)
    # Some estimators print. What was standard output is for the answer alone.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        warming.import_pandas()
        out.write(orjson.dumps(replayed(question, body)))


if __name__ == "__main__":
    main()
