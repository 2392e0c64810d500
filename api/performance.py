"""How good a model was: what was predicted beside what really happened, whole, by time and by group, beside training.

Read and computed on a thread, two at once, and remembered: the same question about the same ledger is answered again
from memory. numpy and scikit-learn are imported by the first question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from api import times
from api.calls import JSON, Answer, Call
from api.catalog import ModelUnknown, groups_of, held_out, manifest_of
from api.composition import ModelContract
from api.frames import Frames, Selection
from api.plots import ink, measured
from api.problems import validation
from api.turns import Turns
from db.versions import Registered

if TYPE_CHECKING:
    from models.columns import Frame
    from models.intervals import Metric
    from models.metrics import Performance as Measured
    from models.metrics import Target

REMEMBERED = 64
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Measures recorded predictions; `size` says how many records there are."""

    models: Mapping[str, ModelContract]
    frames: Frames
    registered: Callable[[], list[Registered]]
    store: Path
    size: Callable[[], int]
    _turns: Turns = field(default_factory=Turns)
    _known: OrderedDict[Key, bytes] = field(default_factory=OrderedDict)

    async def read(self, call: Call) -> Answer:
        """Answer for one model, or one version of it."""
        return await self._turns.take(lambda: self._answer(call))

    def _answer(self, call: Call) -> Answer:
        """Give the figures, or draw them; progress is by day, unless told."""
        if call.accept == JSON:
            return Answer(content=self._remembered(call))
        query = dict(call.query)
        plot, metric = query.pop("plot", measured.PROGRESS), query.pop("metric", None)
        query |= {} if plot != measured.PROGRESS or "bucket" in query else {"bucket": "day"}
        content = orjson.loads(self._remembered(replace(call, query=query)))
        return Answer(content=measured.drawn(content, plot, metric), media_type=ink.MEDIA_TYPE)

    def _remembered(self, call: Call) -> bytes:
        versions = self._versions(call)
        # The ledger only grows, and whatever changes what was predicted or happened is a record of it.
        key = (self.size(), call.path["model"], tuple(sorted(call.query.items())), tuple(versions))
        if (known := self._known.get(key)) is not None:
            return known
        made = orjson.dumps(self.measure(call, versions))
        while len(self._known) >= REMEMBERED:
            self._known.popitem(last=False)
        self._known[key] = made
        return made

    def _versions(self, call: Call) -> list[Registered]:
        if call.path["model"] not in self.models:
            raise ModelUnknown
        mine = [each for each in self.registered() if each.model == call.path["model"]]
        if "version" not in call.query:
            return mine
        wanted = [each for each in mine if each.version == call.query["version"]]
        if not wanted:
            raise ModelUnknown
        return wanted

    def measure(self, call: Call, versions: list[Registered]) -> dict[str, Any]:
        """Read what is asked for, and measure it."""
        from models.metrics import METHODS, Target, measure

        contract, query = self.models[call.path["model"]], call.query
        if (by := query.get("by")) is not None and by not in contract.features:
            detail = f"is no feature of {contract.model}: {', '.join(contract.features)}"
            raise validation([{"parameter": "by", "detail": detail}])
        found = self.frames.read(_selection(contract.model, query))
        target = Target(
            labels=tuple(contract.output.get("labels", ())), positive=contract.output.get("positive")
        )
        frame = found.frame
        there = [each for each in versions if each.version in set(frame.version.names)] or versions
        manifest = manifest_of(self.store, there[0]) if len(there) == 1 else None
        whole = measure(frame, target)
        shown = _group(whole, target, {} if manifest is None else manifest.metrics)
        return {
            "model": contract.model,
            "kind": contract.output["kind"],
            **{name: query[name] for name in ("version", "from", "to", "bucket", "by") if name in query},
            "versions": list(frame.version.names),
            "records": found.size,
            "erased": found.erased,
            **shown,
            **({} if whole.curve is None else {"roc_curve": asdict(whole.curve)}),
            **({} if target.labels else _actuals(frame)),
            **({} if manifest is None else {"at_training": held_out(manifest)}),
            **({} if "bucket" not in query else {"buckets": _buckets(frame, target, query["bucket"])}),
            **({} if by is None else {"slices": _slices(frame, target, by)}),
            "intervals": {"level": 0.95, "methods": dict(METHODS)},
        }


def _actuals(frame: Frame) -> dict[str, Any]:
    from models.metrics import actuals

    found = actuals(frame)
    return {} if found is None else {"actuals": groups_of(found)}


def _selection(model: str, query: Mapping[str, Any]) -> Selection:
    return Selection(
        model=model,
        version=query.get("version"),
        from_us=times.read_us(query["from"]) if "from" in query else None,
        to_us=times.read_us(query["to"]) - 1 if "to" in query else None,
        features=(query["by"],) if "by" in query else (),
    )


def _buckets(frame: Frame, target: Target, size: str) -> list[dict[str, Any]]:
    from models.metrics import measure
    from models.slices import TooManyBuckets, buckets

    try:
        found = buckets(frame, size)
    except TooManyBuckets as many:
        detail = f"{many}; ask for larger buckets, or for a shorter time"
        raise validation([{"parameter": "bucket", "detail": detail}]) from many
    return [
        {
            "from": times.text(each.from_us),
            "to": times.text(each.to_us),
            **_group(measure(frame.take(each.rows), target), target),
        }
        for each in found
    ]


def _slices(frame: Frame, target: Target, feature: str) -> list[dict[str, Any]]:
    from models.metrics import measure
    from models.slices import slices

    return [
        {**_values(each), **_group(measure(frame.take(each.rows), target), target)}
        for each in slices(frame, feature)
    ]


def _values(one: Any) -> dict[str, Any]:
    if one.value is not None:
        return {"value": one.value}
    if one.low is not None:
        return {"low": one.low, "high": one.high}
    return {"is_rest": True} if one.is_rest else {"is_missing": True}


def _group(found: Measured, target: Target, trained: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Write what was measured of one group of predictions as the contract says."""
    content: dict[str, Any] = {
        "n": found.n,
        "outcomes": found.outcomes,
        "coverage": _shown(found.coverage),
        "metrics": {name: _shown(each, (trained or {}).get(name)) for name, each in found.metrics.items()},
    }
    return content | (_of_labels(found, target) if target.labels else _of_numbers(found))


def _of_labels(found: Measured, target: Target) -> dict[str, Any]:
    content: dict[str, Any] = {
        "labels": [
            {"label": label, **{name: _shown(each) for name, each in found.by_label[label].items()}}
            for label in target.labels
        ],
    }
    if found.confusion:
        content["confusion_matrix"] = {"labels": list(target.labels), "counts": found.confusion}
    if found.calibration:
        content["calibration"] = [
            {
                "low": each.low,
                "high": each.high,
                "predicted": each.predicted,
                "observed": _shown(each.observed),
            }
            for each in found.calibration
        ]
    return content


def _of_numbers(found: Measured) -> dict[str, Any]:
    listed = [{"quantile": share, "error": value} for share, value in found.errors.items()]
    return {"errors": listed} if listed else {}


def _shown(metric: Metric, at_training: float | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
        "n": metric.n,
    }
    if metric.reason is not None:
        content["reason"] = metric.reason
    return content if at_training is None else content | {"at_training": at_training}
