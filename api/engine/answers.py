"""From waiting requests to the exact bytes of their answers and records, for one loaded version.

Runs in the version's own thread. All that waits is predicted in one call; what cannot be predicted is found
out request by request, so that nobody pays for somebody else's rows. Nothing here is promised yet: the bytes
leave only after the committer has their records on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from api.engine import wording
from api.engine.asked import WRONG, Asked, checked, read, read_first
from api.engine.desk import Answer, Request
from api.engine.twins import Twins
from api.engine.wording import Trouble
from db.records import Kind, PredictionRow, Record
from models import registry
from models.model import (
    BadFeatures,
    Model,
    Prediction,
    PredictionFailed,
    PredictionLost,
    Rows,
    answer,
    columns,
)

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
        """Answer every request, in order, as many at a time as one call to the model takes.

        Requests that no door has read are left out where they are not plainly what the contract allows.
        """
        refused: list[Ready] = []
        asked: list[Asked] = []
        rows = 0
        for request in requests:
            found = self._read(request)
            if found is None:
                continue
            if isinstance(found, Ready):
                refused.append(found)
                continue
            if asked and rows + len(found) > ROWS_PER_CALL:
                yield self._answer(asked)
                asked, rows = [], 0
            asked.append(found)
            rows += len(found)
        if ready := refused + (self._answer(asked) if asked else []):
            yield ready

    def _read(self, request: Request) -> Asked | Ready | None:
        if request.unread is not None:
            return read_first(request, request.unread, self._model)
        try:
            return read(request)
        except WRONG:
            return self._problem(request, wording.MALFORMED)

    def _answer(self, asked: Sequence[Asked]) -> list[Ready]:
        """Check what all ask in one pass, half the work of many; where that fails, find out who is to be refused."""
        try:
            rows = self._check(asked)
        except WRONG as wrong:
            if len(asked) == 1:
                return [self._refused(asked[0].request, wrong)]
        else:
            return self._predict(asked, rows)
        refused: list[Ready] = []
        good: list[tuple[Asked, Rows]] = []
        for each in asked:
            try:
                good.append((each, self._check([each])))
            except WRONG as wrong:
                refused.append(self._refused(each.request, wrong))
        if not good:
            return refused
        fine, parts = zip(*good, strict=True)
        return refused + self._predict(fine, Rows.join(parts))

    def _check(self, asked: Sequence[Asked]) -> Rows:
        model = self._explaining() if any(each.is_explained for each in asked) else self._model
        return checked(asked, model)

    def _refused(self, request: Request, wrong: Exception) -> Ready:
        if not isinstance(wrong, BadFeatures):
            return self._problem(request, wording.MALFORMED)
        culprits = [{"pointer": each.pointer, "detail": each.detail} for each in wrong.culprits]
        return self._problem(request, wording.invalid(request.version, culprits, wrong.total))

    def _predict(self, asked: Sequence[Asked], rows: Rows) -> list[Ready]:
        try:
            by, predictions = self._ask(asked, rows)
        except PredictionLost:  # why is in the log already, once
            return [self._failed(each.request) for each in asked]
        except PredictionFailed as failed:
            # Halving finds one culprit among n in 2·log2(n) calls; one call each would take n.
            if half := len(asked) // 2:
                middle = sum(map(len, asked[:half]))
                first, second = rows.part(0, middle), rows.part(middle, len(rows))
                return self._predict(asked[:half], first) + self._predict(asked[half:], second)
            return [self._failed(asked[0].request, failed)]
        at_us = self._clock()
        ready = []
        start = 0
        for each in asked:
            end = start + len(each)
            own = partial(rows.part, start, end)
            ready.append(self._predicted(each, by, own, predictions[start:end], at_us))
            start = end
        return ready

    def _explaining(self) -> Reasons:
        if self._reasons is None:
            from models.reasons import Reasons  # what it needs, nobody waits for who asks for no reasons

            self._reasons = Reasons(self._model)
        return self._reasons

    def _told(
        self, asked: Asked, own: Callable[[], Rows], predictions: Sequence[Prediction]
    ) -> list[dict[str, Any]]:
        answers = [answer(each, self._target) for each in predictions]
        if not asked.is_explained:
            return answers
        told = self._explaining().tell(asked.instances, own(), predictions)
        return [each | why for each, why in zip(answers, told, strict=True)]

    def _ask(self, asked: Sequence[Asked], rows: Rows) -> tuple[_By, list[Prediction]]:
        """Answer by the twin, where there is one that is trusted; what it cannot answer, the pickle may.

        Where reasons are asked for it is the pickle: they add up to what was answered, to the last digits.
        """
        is_plain = not any(each.is_explained for each in asked)
        if is_plain and self._twin is not None and self._twins is not None and self._twins.trusts(self._name):
            with suppress(PredictionFailed):
                return self._twin, self._twin.model.predict(rows)
        return self._pickle, self._model.predict(rows)

    def _predicted(
        self, asked: Asked, by: _By, own: Callable[[], Rows], predictions: Sequence[Prediction], at_us: int
    ) -> Ready:
        """Write the answer of one request; `own` cuts its rows out of those of all."""
        request = asked.request
        try:
            body = self._body(asked, own, predictions)
        except PredictionFailed as failed:
            return self._failed(request, failed)
        labels, scores = [each.label for each in predictions], map(_score, predictions)
        rows = map(PredictionRow, range(len(predictions)), asked.references, labels, scores)
        warnings = sum(len(each.unlike) for each in predictions)
        if by is self._twin and self._twins is not None and self._twins.draws():
            self._twins.offer(self._model, request.record, own(), predictions)
        meta = {"predicted_at_us": at_us, "warnings": warnings}
        leaving = Answer(request=request, status=201, body=body)
        return self._ready(leaving, by, meta, tuple(rows))

    def _body(self, asked: Asked, own: Callable[[], Rows], predictions: Sequence[Prediction]) -> bytes:
        """Word the answer; raises PredictionFailed where its reasons do not add up."""
        request, references = asked.request, asked.references
        name = (str(request.record), request.model, request.version)
        warnings = [_unlike(each) if each.unlike else () for each in predictions]
        if not asked.is_explained and len(predictions) >= wording.MANY:
            return wording.many(name, references, columns(predictions, self._target), warnings)
        told = zip(references, self._told(asked, own, predictions), warnings, strict=True)
        shown = [wording.prediction(f"{name[0]}.{position}", *each) for position, each in enumerate(told)]
        return wording.predictions(*name, shown)

    def _failed(self, request: Request, failed: PredictionFailed | None = None) -> Ready:
        log.error(
            "prediction-failed", model=request.model, version=request.version, record=str(request.record)
        )
        if failed is not None:
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
