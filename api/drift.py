"""How far what a version is asked, and what it answers, has moved: from its training, or from an earlier window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api import times
from api.calls import JSON, Answer, Call
from api.catalog import CHAMPION, ModelUnknown, manifest_of
from api.composition import ModelContract
from api.frames import Found, Frames, Selection
from api.plots import ink, spread
from api.problems import RequestRefused
from api.turns import Turns
from db.versions import Alias, Registered
from models.manifest import Manifest

if TYPE_CHECKING:
    from models import drift
    from models.columns import Frame
    from models.metrics import Performance
    from models.shifts import Rate, Shift, Test

# Long enough for a pattern of weekdays to fit in, short enough to notice before a month is over.
USUAL_US = 7 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From when until before when, in microseconds; empty where it ends before it begins."""

    from_us: int
    to_us: int

    @classmethod
    def of(cls, query: Mapping[str, Any], now_us: int) -> Span:
        """Read `from` and `to`: the week before now, unless told."""
        to_us = times.read_us(query["to"]) if "to" in query else now_us
        from_us = times.read_us(query["from"]) if "from" in query else to_us - USUAL_US
        return cls(from_us=from_us, to_us=to_us)

    def before(self, query: Mapping[str, Any]) -> Span:
        """Read `reference_from` and `reference_to`: as long, and right before this one, unless told."""
        to_us = times.read_us(query["reference_to"]) if "reference_to" in query else self.from_us
        length = max(0, self.to_us - self.from_us)
        from_us = times.read_us(query["reference_from"]) if "reference_from" in query else to_us - length
        return Span(from_us=from_us, to_us=to_us)

    def shown(self) -> dict[str, str]:
        """Write both ends as they are on the wire."""
        return {"from": times.text(times.within(self.from_us)), "to": times.text(times.within(self.to_us))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Reads windows of recorded predictions and has them judged; holds no numpy before the first question."""

    models: Mapping[str, ModelContract]
    frames: Frames
    registered: Callable[[], list[Registered]]
    aliases: Callable[[], list[Alias]]
    store: Path
    clock_us: Callable[[], int]
    _turns: Turns = field(default_factory=Turns)

    async def read(self, call: Call) -> Answer:
        """Judge one window of one version, as figures or as a plot."""
        return await self._turns.take(lambda: self._answer(call))

    def _answer(self, call: Call) -> Answer:
        manifest = self.manifest(call.path["model"], call.query.get("version"))
        span = Span.of(call.query, self.clock_us())
        earlier = span.before(call.query) if call.query.get("against") == "previous" else None
        content, found = self.judge(manifest, span, earlier)
        if call.accept == JSON:
            return Answer(content=content)
        return Answer(content=_plotted(found, self.models[manifest.model]), media_type=ink.MEDIA_TYPE)

    def judge(
        self, manifest: Manifest, span: Span, earlier: Span | None = None
    ) -> tuple[dict[str, Any], drift.Drift]:
        """Compare what was predicted in a span with training, or with an earlier span."""
        from models import drift

        model = self.models[manifest.model]
        ours = self._frame(manifest, span)
        window = _window(ours.frame, manifest)
        content: dict[str, Any] = {
            "model": manifest.model,
            "version": manifest.version,
            **span.shown(),
            "n": len(ours.frame),
            "erased": ours.erased,
        }
        if earlier is None:
            found = drift.against_training(window, manifest, model.drift)
            content |= {"against": "training", "reference": {"n": manifest.data.train_rows}}
        else:
            theirs = self._frame(manifest, earlier)
            found = drift.between(window, _window(theirs.frame, manifest), manifest, model.drift)
            reference = {**earlier.shown(), "n": len(theirs.frame), "erased": theirs.erased}
            content |= {"against": "previous", "reference": reference}
        content |= {
            "verdict": found.verdict,
            "correction": drift.CORRECTION,
            "thresholds": asdict(model.drift),
            "features": [_shown(shift) for shift in found.features],
            "output": _shown(found.output),
            "estimate": _estimated(ours.frame, manifest),
        }
        return content, found

    def manifest(self, model: str, version: str | None) -> Manifest:
        """Find what a registered version claims; of the champion, where none is named.

        Raises:
            ModelUnknown: there is no such model or version.
            RequestRefused: the manifest cannot be read.
        """
        if model not in self.models:
            raise ModelUnknown
        if version is None:
            champions = [
                each.version for each in self.aliases() if (each.model, each.alias) == (model, CHAMPION)
            ]
            version = next(iter(champions), None)
        for each in self.registered():
            if (each.model, each.version) == (model, version):
                if (manifest := manifest_of(self.store, each)) is not None:
                    return manifest
                detail = f"the manifest of version {version} cannot be read; restore the registered one"
                raise RequestRefused("model-refused", detail)
        raise ModelUnknown

    def performed(self, manifest: Manifest, span: Span) -> Performance:
        """Measure how good the answers of a span turned out to be, as far as outcomes are known."""
        from models.metrics import Target, measure

        labels, positive = manifest.target.labels or (), manifest.target.positive
        return measure(self._frame(manifest, span).frame, Target(labels=labels, positive=positive))

    def _frame(self, manifest: Manifest, span: Span) -> Found:
        return self.frames.read(
            Selection(
                model=manifest.model,
                version=manifest.version,
                from_us=span.from_us,
                to_us=span.to_us - 1,
                features=tuple(feature.name for feature in manifest.features),
            )
        )


def _window(frame: Frame, manifest: Manifest) -> drift.Window:
    from models import drift

    is_label = manifest.target.labels is not None and manifest.target.positive is None
    return drift.Window(features=frame.features, output=frame.label if is_label else frame.score)


def _estimated(frame: Frame, manifest: Manifest) -> dict[str, Any]:
    """Say how good the version probably was in this window, or why nobody can say without outcomes."""
    from models import estimates

    target = manifest.target
    try:
        estimates.calibration_error(manifest)  # before probabilities are looked for: a regressor has none
        scores = (
            estimates.of_many(frame.probabilities, target)
            if target.positive is None
            else estimates.of_two(frame.score, target)
        )
        found = estimates.estimate(scores, manifest)
    except estimates.NoEstimate as refused:
        return {"refused": str(refused)}
    return {
        "n": found.n,
        "metrics": dict(found.metrics),
        "at_training": {name: manifest.metrics[name] for name in found.metrics if name in manifest.metrics},
        "confusion": {"labels": found.labels, "counts": found.confusion},
        "calibration_error": found.calibration_error,
        "assumption": estimates.ASSUMPTION,
    }


def _plotted(found: drift.Drift, model: ModelContract) -> bytes:
    rows = [
        spread.Row(name=shift.name, psi=shift.psi, verdict=shift.verdict)
        for shift in (*found.features, found.output)
    ]
    return ink.file(spread.drift(rows, watch=model.drift.psi_watch, drifted=model.drift.psi_drifted))


def _shown(shift: Shift) -> dict[str, Any]:
    distribution = shift.distribution
    bins = {"edges": distribution.edges} if distribution.edges else {"categories": distribution.categories}
    return {
        "name": shift.name,
        "verdict": shift.verdict,
        "n": shift.n,
        "reference_n": shift.reference_n,
        "psi": shift.psi,
        "jensen_shannon": shift.jensen_shannon,
        **_tested(shift.test),
        "missing": _rate(shift.missing),
        "unseen": _rate(shift.unseen),
        "distribution": {**bins, "shares": distribution.shares, "reference": distribution.reference},
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"value": rate.value, "reference": rate.reference, **_tested(rate.test)}


def _tested(test: Test | None) -> dict[str, Any]:
    if test is None:
        return {}
    return {"test": {name: value for name, value in asdict(test).items() if value is not None}}
