"""Twins: which of them may answer, and whether they answer live requests as their pickles do.

Of the requests that a twin answered, some are answered again by the pickle: once a second, all in one call, in a thread
of their own, with an estimator of their own. Nobody waits for it, and what is too much is dropped. A twin that gave
another answer is not asked from that moment on; that is put on record, and stays so until an operator says otherwise.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from api import times
from api.engine.roster import Roster
from models.model import Model, Prediction, PredictionFailed, Rows

EVERY_S = 1.0  # one call of a pickle costs the same for one row as for a hundred
MOST_ROWS = 16_384  # some tenths of a second of a pickle's time
_ACTOR = "engine"  # as of heartbeats: nobody asked for it
Name = tuple[str, str]
log = structlog.get_logger()


class Sample(NamedTuple):
    """A request that a twin has answered, and what it answered."""

    model: Model
    record: UUID
    rows: Rows
    predictions: Sequence[Prediction]


class Twins:
    """Trusts twins until one is caught; `perform` makes a change and its record durable."""

    def __init__(
        self, share: float, roster: Roster, perform: Callable[[dict[str, Any]], Awaitable[Any]]
    ) -> None:
        self._share, self._roster, self._perform = share, roster, perform
        self._samples: list[Sample] = []
        self._rows = 0
        self._lock = threading.Lock()  # lanes offer, each in its thread
        self._pickles: dict[str, Model] = {}
        self._caught: dict[Name, dict[str, Any]] = {}  # not known to be on record yet

    def trusts(self, name: Name) -> bool:
        """Say whether a version's twin may answer now; from any thread."""
        registered = self._roster.table.versions.get(name)
        return name not in self._caught and (registered is None or registered.twin_off_at_us is None)

    def draws(self) -> bool:
        """Say whether a request is one of those that are checked; from any thread."""
        return random.random() < self._share  # noqa: S311  # which ones are checked is no secret worth a system call

    def offer(self, model: Model, record: UUID, rows: Rows, predictions: Sequence[Prediction]) -> None:
        """Keep what a twin answered for a check; from any thread."""
        with self._lock:
            if self._rows + len(rows) <= MOST_ROWS:
                self._samples.append(Sample(model, record, rows, predictions))
                self._rows += len(rows)

    def state(self) -> dict[str, str]:
        """Describe every twin that was switched off, by model and version."""
        found = {
            name: f"off since {times.text(each.twin_off_at_us)}; its pickle answers"
            for name, each in self._roster.table.versions.items()
            if each.twin_off_at_us is not None
        }
        found |= dict.fromkeys(self._caught, "off; its pickle answers; not on record yet")
        return {f"{model} {version}": text for (model, version), text in found.items()}

    async def run(self) -> None:
        """Check, and record what was found, for as long as the engine lives."""
        while True:
            await asyncio.sleep(EVERY_S)
            with self._lock:
                samples, self._samples, self._rows = self._samples, [], 0
            if samples:
                await asyncio.to_thread(self._check, samples)
            for name, found in list(self._caught.items()):
                await self._record(name, found)

    def _check(self, samples: Sequence[Sample]) -> None:
        by_version: dict[str, list[Sample]] = defaultdict(list)
        for each in samples:
            by_version[each.model.manifest.digest].append(each)
        for digest, its in by_version.items():
            pickle = self._pickles.setdefault(digest, its[0].model.apart())
            found = next(_differing(pickle, its), None)
            if found is not None:
                name = (pickle.manifest.model, pickle.manifest.version)
                self._caught.setdefault(name, found)
                log.error("twin-switched-off", model=name[0], version=name[1], **found)

    async def _record(self, name: Name, found: dict[str, Any]) -> None:
        args = {"model": name[0], "version": name[1], **found}
        try:
            await self._perform({"name": "twin.off", "args": args, "actor": {"client_id": _ACTOR}})
        except (
            Exception
        ):  # what stands in the way is temporary, and the twin stays off meanwhile: tried again
            log.exception("twin-not-on-record-yet", model=name[0], version=name[1])
        else:
            if self._roster.table.versions[name].twin_off_at_us is not None:
                del self._caught[name]


def _differing(pickle: Model, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """Say which predictions are others than the pickle's: where and by how much, never with which values."""
    from models import twin

    tolerance = pickle.manifest.tolerance
    for sample, expected in zip(samples, _expected(pickle, samples), strict=True):
        for position, (left, right) in enumerate(zip(expected, sample.predictions, strict=True)):
            if twin.difference(left, right, tolerance) is None:
                yield {
                    "record": str(sample.record),
                    "position": position,
                    "differs": _what(left, right),
                    "tolerance": tolerance,
                    "checked": sum(len(each.rows) for each in samples),
                }


def _expected(pickle: Model, samples: Sequence[Sample]) -> Iterator[Sequence[Prediction | None]]:
    try:
        all_at_once = iter(pickle.predict(Rows.join([each.rows for each in samples])))
    except PredictionFailed:
        for each in samples:
            try:
                yield pickle.predict(each.rows)
            except (
                PredictionFailed
            ):  # one row of it is enough: the twin answered the request, the pickle cannot
                yield [None] * len(each.rows)
    else:
        yield from ([next(all_at_once) for _ in range(len(each.rows))] for each in samples)


def _what(expected: Prediction | None, came: Prediction) -> str:
    if expected is None:
        return "the pickle fails"
    return "score" if expected.label == came.label else "label"
