"""Replays: a recorded request is answered again by the artefact that answered it, and both answers are compared.

The model runs in a process of its own (models/replay.py), never here: whatever it does costs that process. What comes
of it is a record like any other, and leaves like any other: through the committer, when it is durable.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import structlog

from api import times, wire
from api.engine import comparing, wording
from api.engine.answers import Ready
from api.engine.child import Child, ChildLate, ChildLost
from api.engine.comparing import Given
from api.engine.desk import Answer, Desk, Request, turn_away
from api.engine.roster import Roster
from api.settings import Settings, bare_environment
from db import originals
from db.engine import StorageUnavailable
from db.erased import Erased, RecordErased
from db.lookups import RecordNotFound
from db.originals import NoPrediction, Original, RecordChanged
from db.records import Kind, Origin, Record

AT_ONCE = 2  # each takes a core for the second and a half that importing scikit-learn takes
_COMMAND = (sys.executable, "-m", "models.replay")
_MADE_BY = ("runtime", "libraries", "process", "twin")
log = structlog.get_logger()


class ReplayRefused(Exception):
    """There is nothing to answer; `slug` names the problem that says so over HTTP."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug, self.detail = slug, detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a process made of an original, and in what environment."""

    original: Original
    given: Given
    environment: Mapping[str, Any]
    duration_s: float


class Replays:
    """Runs replays, a few at once; `deliver` takes what may leave once it is recorded."""

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        roster: Roster,
        deliver: Callable[[Sequence[Ready]], None],
        clock: Callable[[], int],
    ) -> None:
        self._settings, self._desk, self._roster = settings, desk, roster
        self._deliver, self._clock = deliver, clock
        self._child = Child(
            command=_COMMAND,
            environment=bare_environment(),
            most_bytes=wire.ANSWER_BYTES,
            shows_errors=settings.debug,
        )
        self._running = 0

    def __len__(self) -> int:
        return self._running

    def take(
        self,
        request: Request,
        of: UUID,
        position: int | None,
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
    ) -> None:
        """Replay the record `of` and answer the request, or say why not; `position` must be one of its own."""
        if self._running >= AT_ONCE:
            turn_away(request, "overloaded", "other replays are running; ask again in a second")
            return
        self._running += 1
        spawn(self._answer(request, of, position))

    async def _answer(self, request: Request, of: UUID, position: int | None) -> None:
        try:
            ready = await self._replay(request, of, position)
        except ReplayRefused as refused:
            turn_away(request, refused.slug, refused.detail)
        except StorageUnavailable:
            turn_away(request, "store-unavailable", "nothing was replayed; ask again in a second")
        except Exception:
            log.exception("replay-broke", record=str(of))
            turn_away(request, "internal", "the replay broke off; nothing was recorded")
        else:
            self._leave(request, ready)
        finally:
            self._running -= 1

    def _leave(self, request: Request, ready: Ready) -> None:
        # Only now inside: the desk keeps its requests in the order of their deadlines.
        request.deadline = asyncio.get_running_loop().time() + self._settings.answer_deadline_s
        if self._desk.admit(request):
            self._deliver([ready])
        else:
            turn_away(request, "overloaded", "the queue is full, so the replay was not recorded")

    async def _replay(self, request: Request, of: UUID, position: int | None) -> Ready:
        original = await asyncio.to_thread(self._original, of, position)
        meta = orjson.loads(original.meta)
        started = asyncio.get_running_loop().time()
        said = await self._ask(original, meta.get("libraries", {}))
        _insist_on_an_answer(original, said)
        replayed = Replayed(
            original=original,
            given=await asyncio.to_thread(_given, original, said),
            environment=said["environment"],
            duration_s=asyncio.get_running_loop().time() - started,
        )
        return await asyncio.to_thread(self._ready, request, replayed, meta)

    def _original(self, of: UUID, position: int | None) -> Original:
        try:
            original = originals.read(self._roster.reader, of)
            if position is not None:
                _insist_on_the_position(original, position)
        except RecordNotFound as missing:
            raise ReplayRefused("not-found", "there is no such thing here") from missing
        except NoPrediction as other:
            raise ReplayRefused("not-replayable", str(other)) from other
        except RecordErased as erased:
            raise ReplayRefused("erased", "; ".join(map(_erasure, erased.erasures))) from erased
        except RecordChanged as changed:
            log.error("record-changed", record=str(of), reason=str(changed))  # noqa: TRY400  # that is all there is to know
            raise ReplayRefused("record-changed", f"{changed}; run verify") from changed
        return original

    async def _ask(self, original: Original, libraries: Mapping[str, str]) -> dict[str, Any]:
        settings, deadline_s = self._settings, self._settings.replay_deadline_s
        question = {
            "store": str(settings.store.resolve()),
            "model": original.model,
            "version": original.version,
            "digest": original.digest.hex(),
            "manifest": original.manifest,
            "publishers": None if settings.publishers is None else str(settings.publishers.resolve()),
            "largest_bytes": settings.largest_artefact_bytes,
            "libraries": libraries,
            "seconds": deadline_s + 1,
        }
        try:
            answer = await self._child.ask(
                orjson.dumps(question) + b"\n" + original.input, within_s=deadline_s
            )
            return dict(orjson.loads(answer))
        except ChildLate as late:
            raise ReplayRefused(
                "replay-timeout",
                f"it took more than {deadline_s} seconds and was ended; nothing was recorded",
            ) from late
        except (ChildLost, OSError, ValueError) as lost:
            log.error("replay-lost", record=str(original.id), reason=str(lost))  # noqa: TRY400  # likewise
            raise ReplayRefused(
                "replay-failed", "its process ended before it had answered; nothing was recorded"
            ) from lost

    def _ready(self, request: Request, replayed: Replayed, meta: Mapping[str, Any]) -> Ready:
        original = replayed.original
        request.model, request.version = original.model, original.version
        body = _body(request.record, replayed, {name: meta[name] for name in _MADE_BY if name in meta})
        if len(body) > wire.ANSWER_BYTES:
            raise ReplayRefused(
                "not-replayable", f"two such answers have more than {wire.ANSWER_BYTES} bytes"
            )
        about: dict[str, Any] = {"received_at_us": request.received_at_us, "replayed_at_us": self._clock()}
        about |= {} if request.key is None else request.key.told()
        record = Record(
            id=request.record,
            kind=Kind.REPLAY,
            observed_at_us=request.taken_at_us,
            client_id=request.client_id,
            model=original.model,
            version=original.version,
            digest=original.digest,
            status=201,
            input=request.body,
            output=body,
            actor=request.actor,
            meta=orjson.dumps({"replays": str(original.id), **replayed.environment, **about}),
            runtime=sha256(orjson.dumps(replayed.environment)).digest(),
            key=request.key,
            origin=Origin(idx=original.idx, unless_erased=True),
        )
        return Ready(answer=Answer(request=request, status=201, body=body), record=record)


def _erasure(each: Erased) -> str:
    by = f" by {each.client_id}" if each.client_id else ""
    return f"erased at {times.text(each.at_us)}{by} on the ground {each.ground}, says record {each.erasure}"


def _insist_on_the_position(original: Original, position: int) -> None:
    if position >= len(orjson.loads(original.output).get("predictions", ())):
        raise RecordNotFound(f"{original.id}.{position}")


def _insist_on_an_answer(original: Original, said: Mapping[str, Any]) -> None:
    if said["is"] == "libraries":
        each = (f"{library} was {then}, is {now}" for library, then, now in said["differing"])
        raise ReplayRefused("libraries-differ", "; ".join(each))
    if said["is"] == "artefact":
        raise ReplayRefused(
            "artefact-refused", f"recorded is the digest {original.digest.hex()}; {said['reason']}"
        )


def _given(original: Original, said: Mapping[str, Any]) -> Given:
    """Word what the process says as it was worded for the caller, under the original's id."""
    record, version = str(original.id), original.version
    match said["is"]:
        case "answered":
            each = zip(said["references"], said["answers"], said["unlike"], strict=True)
            shown = [wording.prediction(f"{record}.{position}", *one) for position, one in enumerate(each)]
            return Given(status=201, body=wording.predictions(record, original.model, version, shown))
        case "invalid":
            trouble = wording.invalid(version, said["culprits"], said["total"])
        case "failed":
            trouble = wording.failed(version)
        case _:
            trouble = wording.MALFORMED
    return Given(status=trouble.status, body=trouble.body(record))


def _body(record: UUID, replayed: Replayed, made_by: Mapping[str, Any]) -> bytes:
    original = replayed.original
    recorded = Given(status=original.status, body=original.output)
    twin = made_by.get("twin", {}).get("tolerance")
    found = comparing.compare(recorded, replayed.given, twin)
    largest = {} if found.largest is None else {"largest_difference": found.largest}
    return orjson.dumps(
        {
            "replay": str(record),
            "record": str(original.id),
            "model": original.model,
            "version": original.version,
            "digest": original.digest.hex(),
            "verdict": found.verdict,
            "tolerance": comparing.TOLERANCE if twin is None else twin,
            "differences": found.differences,
            "difference_count": found.count,
            **largest,
            "recorded": _shown(recorded),
            "replayed": _shown(replayed.given),
            "environment": {"recorded": made_by, "replayed": replayed.environment},
            "duration_ms": round(replayed.duration_s * 1000, 1),
        }
    )


def _shown(given: Given) -> dict[str, Any]:
    return {"status": given.status, "body": orjson.Fragment(given.body)}  # its exact bytes, not written anew
