"""From waiting requests to the exact bytes of their answers and records, for one loaded version.

Runs in the version's own thread. All that waits is predicted in one call; what cannot be predicted is found
out request by request, so that nobody pays for somebody else's rows. Nothing here is promised yet: the bytes
leave only after the committer has their records on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from api.engine import wording
from api.engine.desk import Answer, Request
from api.engine.twins import Twins
from api.engine.wording import Trouble
from db.records import Kind, PredictionRow, Record
from models import registry
from models.model import BadFeatures, Model, Prediction, PredictionFailed, Rows, answer, columns

if TYPE_CHECKING:
    from models.reasons import Reasons

ROWS_PER_CALL = 4096
log = structlog.get_logger()


@dataclass(slots=True, frozen=True, kw_only=True)
class Ready:
    """An answer, the record of it and what is recorded with that, all of which must be durable before it leaves."""

    answer: Answer
    record: Record
    more: tuple[Record, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """Return all of them, that of the answer first."""
        return (self.record, *self.more)

    @property
    def size(self) -> int:
        """Count the bytes that the commit has to carry."""
        return sum(len(each.input) + len(each.output) for each in self.records)


@dataclass(slots=True, frozen=True, kw_only=True)
class _Checked:
    request: Request
    rows: Rows
    references: list[str | None]
    explained: list[dict[str, Any]] | None  # the instances, where reasons were asked for


@dataclass(slots=True, frozen=True)
class _By:
    """Who answers, and what every record of it says of that: the beginning of its meta, and a digest in its leaf."""

    model: Model
    about: bytes
    runtime: bytes

    @classmethod
    def of(cls, model: Model, runtime: str, **more: Any) -> _By:
        manifest = model.manifest
        libraries = {name: registry.installed(name) for name in manifest.libraries}
        made_by = {"runtime": runtime, "libraries": libraries, "process": registry.process(), **more}
        # Model and version again, where the leaf's commitment covers them: the columns can be held against it.
        about = {"model": manifest.model, "version": manifest.version, "digest": manifest.digest}
        # The part of every record's meta that is the same, written once and put in front of the rest.
        begun = orjson.dumps(about | made_by)[:-1] + b","
        return cls(model, begun, sha256(orjson.dumps(made_by)).digest())


class Answering:
    """Answers requests with one version, by its twin as long as `twins` trusts it.

    `clock` gives microseconds since 1970, UTC.
    """

    def __init__(self, model: Model, clock: Callable[[], int], twins: Twins | None = None) -> None:
        self._model, self._clock, self._twins = model, clock, twins
        manifest, claim = model.manifest, model.manifest.twin
        self._name = (manifest.model, manifest.version)
        self._digest = bytes.fromhex(manifest.digest)
        self._target = manifest.target
        self._reasons: Reasons | None = None
        self._pickle, self._twin = _By.of(model, "pickle"), None
        if model.twin is not None and claim is not None:
            told = {"digest": claim.digest, "libraries": claim.libraries, "tolerance": manifest.tolerance}
            self._twin = _By.of(model.twin, f"twin:{claim.way}", twin=told)

    def answers(self, requests: Sequence[Request]) -> Iterator[list[Ready]]:
        """Answer every request, in order, as many at a time as one call to the model takes."""
        refused: list[Ready] = []
        checked: list[_Checked] = []
        rows = 0
        for request in requests:
            found = self._check(request)
            if isinstance(found, Ready):
                refused.append(found)
                continue
            if checked and rows + len(found.rows) > ROWS_PER_CALL:
                yield self._predict(checked)
                checked, rows = [], 0
            checked.append(found)
            rows += len(found.rows)
        yield refused + self._predict(checked)

    def _check(self, request: Request) -> _Checked | Ready:
        try:
            asked = orjson.loads(request.body)
            instances = asked["instances"]
            references = [instance.get("reference") for instance in instances]
            explained = instances if asked.get("explain") else None
            rows = (self._model if explained is None else self._explaining()).check(instances)
            return _Checked(request=request, rows=rows, references=references, explained=explained)
        except BadFeatures as refused:
            culprits = [{"pointer": each.pointer, "detail": each.detail} for each in refused.culprits]
            return self._problem(request, wording.invalid(request.version, culprits, refused.total))
        except (ValueError, TypeError, KeyError, AttributeError):
            return self._problem(request, wording.MALFORMED)

    def _predict(self, checked: Sequence[_Checked]) -> list[Ready]:
        if not checked:
            return []
        try:
            by, predictions = self._ask(checked)
        except PredictionFailed as failed:
            # Halving finds one culprit among n in 2·log2(n) calls; one call each would take n.
            if half := len(checked) // 2:
                return self._predict(checked[:half]) + self._predict(checked[half:])
            return [self._failed(checked[0].request, failed)]
        at_us = self._clock()
        ready = []
        start = 0
        for each in checked:
            end = start + len(each.rows)
            ready.append(self._predicted(each, by, predictions[start:end], at_us))
            start = end
        return ready

    def _explaining(self) -> Reasons:
        if self._reasons is None:
            from models.reasons import Reasons  # what it needs, nobody waits for who asks for no reasons

            self._reasons = Reasons(self._model)
        return self._reasons

    def _answers(self, checked: _Checked, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        answers = [answer(each, self._target) for each in predictions]
        if checked.explained is None:
            return answers
        told = self._explaining().tell(checked.explained, checked.rows, predictions)
        return [each | why for each, why in zip(answers, told, strict=True)]

    def _ask(self, checked: Sequence[_Checked]) -> tuple[_By, list[Prediction]]:
        """Answer by the twin, where there is one that is trusted; what it cannot answer, the pickle may.

        Where reasons are asked for it is the pickle: they add up to what was answered, to the last digits.
        """
        rows = Rows.join([each.rows for each in checked])
        is_plain = all(each.explained is None for each in checked)
        if is_plain and self._twin is not None and self._twins is not None and self._twins.trusts(self._name):
            with suppress(PredictionFailed):
                return self._twin, self._twin.model.predict(rows)
        return self._pickle, self._model.predict(rows)

    def _predicted(self, checked: _Checked, by: _By, predictions: Sequence[Prediction], at_us: int) -> Ready:
        request = checked.request
        try:
            body = self._body(checked, predictions)
        except PredictionFailed as failed:
            return self._failed(request, failed)
        labels, scores = [each.label for each in predictions], map(_score, predictions)
        rows = map(PredictionRow, range(len(predictions)), checked.references, labels, scores)
        warnings = sum(len(each.unlike) for each in predictions)
        if by is self._twin and self._twins is not None:
            self._twins.offer(self._model, request.record, checked.rows, predictions)
        meta = {"predicted_at_us": at_us, "warnings": warnings}
        leaving = Answer(request=request, status=201, body=body)
        return self._ready(leaving, by, meta, tuple(rows))

    def _body(self, checked: _Checked, predictions: Sequence[Prediction]) -> bytes:
        """Word the answer; raises PredictionFailed where its reasons do not add up."""
        request, references = checked.request, checked.references
        name = (str(request.record), request.model, request.version)
        warnings = [_unlike(each) if each.unlike else () for each in predictions]
        if checked.explained is None and len(predictions) >= wording.MANY:
            return wording.many(name, references, columns(predictions, self._target), warnings)
        told = zip(references, self._answers(checked, predictions), warnings, strict=True)
        shown = [wording.prediction(f"{name[0]}.{position}", *each) for position, each in enumerate(told)]
        return wording.predictions(*name, shown)

    def _failed(self, request: Request, failed: PredictionFailed) -> Ready:
        log.error(
            "prediction-failed", model=request.model, version=request.version, record=str(request.record)
        )
        log.debug("prediction-failed-because", record=str(request.record), exc_info=failed)
        return self._problem(request, wording.failed(request.version))

    def _problem(self, request: Request, trouble: Trouble) -> Ready:
        body = trouble.body(str(request.record))
        leaving = Answer(request=request, status=trouble.status, body=body)
        return self._ready(leaving, self._pickle, {"problem": trouble.slug}, ())

    def _ready(
        self, leaving: Answer, by: _By, meta: dict[str, Any], rows: tuple[PredictionRow, ...]
    ) -> Ready:
        request = leaving.request
        meta["received_at_us"] = request.received_at_us
        if request.alias is not None:
            meta["alias"] = request.alias
        if request.key is not None:
            meta |= request.key.told()
        record = Record(
            id=request.record,
            kind=Kind.PREDICTION,
            observed_at_us=request.taken_at_us,
            client_id=request.client_id,
            model=request.model,
            version=request.version,
            digest=self._digest,
            status=leaving.status,
            input=request.body,
            output=leaving.body,
            actor=request.actor,
            meta=by.about + orjson.dumps(meta)[1:],
            runtime=by.runtime,
            rows=rows,
            key=request.key,
        )
        return Ready(answer=leaving, record=record)


def _unlike(prediction: Prediction) -> list[tuple[str, str]]:
    return [(each.feature, each.detail) for each in prediction.unlike]


def _score(prediction: Prediction) -> float | None:
    """What lookups sort by: the probability of the positive label, of the answered one among many, or the value."""
    if prediction.probability is not None:
        return prediction.probability
    if prediction.probabilities is not None and prediction.label is not None:
        return prediction.probabilities[prediction.label]
    return prediction.value
