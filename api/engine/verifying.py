"""Verifications that somebody starts from afar: one at a time, in a process of its own, what came of it on record.

The process reads after everybody else (api/engine/verifier.py); the engine only reads its lines. While it runs, a draft
of the record lies beside the keys: whatever ends the engine, the next one puts on record what became of it. A verdict
that cannot be recorded, because the ledger stopped, is shown all the same, for as long as this engine lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from subprocess import Popen
from typing import Any
from uuid import UUID

import orjson
import structlog

from api import times, wire
from api.engine import child, desk
from api.engine.anchors import Anchors
from api.engine.committing import Committer
from api.engine.drafts import Draft
from api.limits import Limit
from api.outside import INTERRUPTED, UNREADABLE
from api.settings import Settings, environment_of
from db import cosignatures
from db.engine import StorageUnavailable
from db.ledger import LedgerUnavailable, RecordConflict
from db.records import Kind, Record, new_id
from db.sealing import LedgerForked

AGAIN_S = 2.0  # until a verdict that could not be recorded is tried again
EVERYTHING = "everything"
_LINE_BYTES = 1 << 22  # a hundred findings of a thousand letters
_COMMAND = (sys.executable, "-m", "api.engine.verifier")
_ENGINE_ENDED = "the engine that ran it ended before it did"
log = structlog.get_logger()


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """One verification: what is known of it so far, as callers see it."""

    said: dict[str, Any]
    actor: Mapping[str, Any]
    process: Popen[bytes] | None = None
    cancelled_by: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        return str(self.said["verification"])

    def end(self, said: dict[str, Any]) -> None:
        self.said = said
        self.ended.set()


class Verifying:
    """Starts, watches and ends them; `clock` gives microseconds since 1970, UTC."""

    def __init__(
        self, settings: Settings, committer: Committer, anchors: Anchors, clock: Callable[[], int]
    ) -> None:
        self._settings, self._committer, self._clock = settings, committer, clock
        self._anchors = anchors
        self._draft = Draft(settings.var / "verification.json")
        self._starts = Limit("verifications", settings.verifications_per_client)
        self._run: _Run | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._has_begun = asyncio.Event()
        self._settling = asyncio.Lock()

    async def run(self) -> None:
        """Put on record what an engine before this one left, and look after those that are started."""
        async with asyncio.TaskGroup() as tasks:
            if (left := await asyncio.to_thread(self._draft.read)) is not None:
                said = left["said"]
                if said["state"] == "running":
                    said = said | _ending("interrupted", self._now(), _ENGINE_ENDED)
                self._run = _Run(said=said, actor=left["actor"])
                tasks.create_task(self._keep(self._run, said))
            self._tasks = tasks
            self._has_begun.set()
            await asyncio.Event().wait()  # for ever: the engine cancels it, and what was started with it

    async def take(self, frame: wire.Frame, door: asyncio.StreamWriter) -> None:
        """Answer one question of a door or a command."""
        try:
            status, content = await self._answer(frame)
        except StorageUnavailable:
            refusal = desk.refusal("store-unavailable", "nothing was found out; ask again in a second")
            desk.write(door, wire.encode(frame.number, *refusal))
            return
        except Exception:
            log.exception("verification-refused")
            refusal = desk.refusal("internal", "the engine does not understand this question")
            desk.write(door, wire.encode(frame.number, *refusal))
            return
        head: dict[str, Any] = {"status": status, "record": None, "headers": {}}
        desk.write(door, wire.encode(frame.number, head, orjson.dumps(content)))

    async def _answer(self, frame: wire.Frame) -> tuple[int, Any]:
        await self._has_begun.wait()
        asked, run = frame.head, self._run
        match asked["ask"]:
            case "start":
                return await self._start(asked["actor"], asked.get("of", EVERYTHING))
            case "running":
                return 200, None if run is None else run.said
            case "cancel":
                return 200, await self._cancel(asked["verification"], str(asked["actor"]["client_id"]))
            case "note":
                return 200, await self._note(asked, orjson.loads(frame.body))
            case "anchors":
                return 200, await self._anchors.read()
        raise ValueError(asked["ask"])

    async def _start(self, actor: Mapping[str, Any], of: str) -> tuple[int, dict[str, Any]]:
        assert self._tasks is not None
        async with self._settling:
            if self._run is not None:
                return 200, self._run.said
            if (over := self._starts.over(str(actor["client_id"]), self._clock() / 1e6)) is not None:
                return 429, asdict(over)  # each start is a record, however it ends
            said = _begun(actor, "api", of, self._clock())
            self._run = run = _Run(said=said, actor=actor)
            await self._write(run, said)
        self._tasks.create_task(self._look_after(run))
        return 202, said

    async def _cancel(self, name: str, by: str) -> dict[str, Any] | None:
        """End it, if it is the one that runs, and return how it ended; None for any other."""
        run = self._run
        if run is None or run.id != name:
            return None
        if run.said["state"] == "running":
            run.cancelled_by = by
            _kill(run)
            await run.ended.wait()
        return run.said

    async def _note(self, asked: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any] | None:
        """Put on record what a command found out by itself; None where it is of another ledger, or cannot be now."""
        if told["key"] != cosignatures.name_of(await asyncio.to_thread(self._anchors.key)):
            return None
        of = "new" if told["since"] else EVERYTHING
        said = _begun(asked["actor"], "command", of, asked["started_at_us"]) | _finished(told, self._now())
        try:
            await self._append(said, asked["actor"])
        except (LedgerUnavailable, LedgerForked) as failed:
            log.warning("verification-not-noted", reason=str(failed))
            return None
        return said

    async def _look_after(self, run: _Run) -> None:
        try:
            ending = await self._follow(run)
        except OSError as failed:
            reason = f"no process could be started ({failed.strerror})"
            ending = _ending("failed", self._now(), reason, UNREADABLE)
        except Exception:
            log.exception("verification-broke")
            ending = _ending("interrupted", self._now(), "its process said what nobody understands")
        log.info("verification-ended", verification=run.id, state=ending["state"], found=ending.get("found"))
        said = run.said | ending
        await self._write(run, said)
        await self._keep(run, said)

    async def _follow(self, run: _Run) -> dict[str, Any]:
        """Read what its process says until it ends, and say how it ended."""
        run.process = process = child.start((*_COMMAND, run.said["of"]), environment_of(self._settings))
        if run.cancelled_by is not None:  # before there was a process
            _kill(run)
        ended: dict[str, Any] | None = None
        try:
            hearing, saying = await child.hear(process, _LINE_BYTES)
            with contextlib.closing(hearing):
                async for line in saying:
                    heard = orjson.loads(line)
                    if "ended" in heard:
                        ended = heard["ended"]
                    else:
                        run.said = run.said | {"checked": heard["checked"], "size": heard["size"]}
                code = await asyncio.to_thread(process.wait)
        finally:
            await _gone(process)
        if ended is not None:
            return _finished(ended, self._now())
        if run.cancelled_by is not None:
            return _ending("cancelled", self._now(), f"cancelled by {run.cancelled_by}")
        return _ending("interrupted", self._now(), f"its process ended with exit code {code}")

    async def _write(self, run: _Run, said: Mapping[str, Any]) -> None:
        content = {"said": dict(said), "actor": dict(run.actor)}
        try:
            await asyncio.to_thread(self._draft.write, content)
        except OSError as failed:  # it goes on; if the engine ends first, nobody will know that it ran
            log.warning("draft-not-written", reason=str(failed))

    async def _keep(self, run: _Run, said: dict[str, Any]) -> None:
        """Put it on record, however long that takes; until then it is the one that `_run` names."""
        while not await self._is_settled(run, said):
            await asyncio.sleep(AGAIN_S)

    async def _is_settled(self, run: _Run, said: dict[str, Any]) -> bool:
        async with self._settling:  # who sees it on record and starts another is not led back to it
            try:
                await self._append(said, run.actor)
            except (LedgerUnavailable, LedgerForked) as failed:
                log.error("verification-not-recorded", reason=str(failed))  # noqa: TRY400  # the reason is all there is
                run.end(said)  # what became of it is known, if not on record
                return False
            except Exception:  # it costs this verification its record, and nobody else anything
                log.exception("verification-not-storable")
            await asyncio.to_thread(self._draft.remove)
            self._run = None
            run.end(said)
            return True

    async def _append(self, said: Mapping[str, Any], actor: Mapping[str, Any]) -> None:
        record = _record(said, actor, self._clock())
        # Stored already: an engine that recorded it died before it could remove the draft.
        with contextlib.suppress(RecordConflict):
            await self._committer.with_pen(lambda ledger: ledger.append([record]))

    def _now(self) -> str:
        return times.text(self._clock())


def _begun(actor: Mapping[str, Any], via: str, of: str, at_us: int) -> dict[str, Any]:
    return {
        "verification": str(new_id(at_us)),
        "state": "running",
        "by": str(actor["client_id"]),
        "via": via,
        "of": of,
        "started_at": times.text(at_us),
    }


def _finished(told: Mapping[str, Any], at: str) -> dict[str, Any]:
    state = "failed" if told["exit_code"] == UNREADABLE else "finished"
    return {"state": state, "ended_at": at, **told}


def _ending(state: str, at: str, detail: str, code: int = INTERRUPTED) -> dict[str, Any]:
    return {"state": state, "ended_at": at, "exit_code": code, "detail": detail}


def _kill(run: _Run) -> None:
    if run.process is not None:
        run.process.kill()  # which looks first whether it has ended


async def _gone(process: Popen[bytes]) -> None:
    """Leave nothing of it: also where the engine stops, or it said what it should not."""
    process.kill()
    assert process.stdin is not None
    process.stdin.close()  # nothing was said there: that it closes tells the process that the engine is gone
    await asyncio.to_thread(process.wait)


def _record(said: Mapping[str, Any], actor: Mapping[str, Any], at_us: int) -> Record:
    """Make the record: its output is what callers are shown of it, byte for byte."""
    return Record(
        id=UUID(said["verification"]),
        kind=Kind.VERIFICATION,
        observed_at_us=at_us,
        client_id=said["by"],
        status=200,
        input=orjson.dumps({"verification": said["verification"], "via": said["via"]}),
        output=orjson.dumps(dict(said)),
        actor=orjson.dumps(dict(actor)),
        meta=b"{}",
    )
