"""The engine: one process that loads the models and holds the pen.

Doors ask over a unix socket. A predict request goes desk → lane (its version's queue and thread) → committer
→ desk, and is answered when its record is on disk. What is asked besides (state, changes) goes its own short
way.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import orjson
import structlog

from api import wire
from api.engine import changes, desk, reporting
from api.engine.alerting import Alerting
from api.engine.anchors import Anchors
from api.engine.batching import Lane
from api.engine.blocks import Blocks
from api.engine.committing import Committer
from api.engine.desk import Desk, Request
from api.engine.events import Events
from api.engine.heartbeat import beat
from api.engine.journal import journal_of
from api.engine.keys import Keys
from api.engine.lanes import Lanes
from api.engine.loading import Loading
from api.engine.once import Once
from api.engine.plans import Change, ChangeRefused, Done, Plan, Sources
from api.engine.quotas import Quotas, told
from api.engine.replaying import Replays
from api.engine.retaining import Retaining
from api.engine.roster import Roster
from api.engine.twins import Twins
from api.engine.verifying import Verifying
from api.engine.witnesses import Witnesses
from api.settings import Settings
from db.engine import StorageUnavailable
from db.idempotency import KeyTaken
from db.ledger import Ledger, LedgerUnavailable
from db.records import Kind, RequestKey
from db.sealing import LedgerForked

LOOK_S = 0.5  # how late after its deadline a request is refused
_STOPPING = "the engine is stopping; ask again in a second"
_NOT_A_HEAD = (KeyError, ValueError, TypeError, AttributeError)
log = structlog.get_logger()


class _Stopped(Exception):
    """Ends the task group: everything inside is answered."""


class Engine:
    """Everything between the socket and the ledger; `clock` gives microseconds since 1970, UTC."""

    def __init__(self, settings: Settings, ledger: Ledger, roster: Roster, clock: Callable[[], int]) -> None:
        self._settings, self._ledger, self._roster, self._clock = settings, ledger, roster, clock
        self._desk = Desk(most_requests=settings.queue_requests, most_bytes=settings.queue_bytes)
        self._loading = Loading(settings)
        self._quotas = Quotas(settings)
        self._keys = Keys(ledger, roster.reader, clock)
        self._committer = Committer(ledger, self._desk, self._keys)
        self._events = Events(self._committer, settings.events_days, clock)
        self._witnesses = Witnesses(settings, ledger, self._committer)
        self._twins = Twins(settings.twin_checked, roster, self._perform)
        self._lanes = Lanes(
            roster,
            self._loading,
            self._desk,
            lambda load: Lane(load, self._desk, self._committer.put, clock, self._twins),
        )
        self._replays = Replays(settings, self._desk, roster, self._committer.put, clock)
        self._alerting = Alerting(settings, roster.reader, self._committer, clock)
        anchors = Anchors(settings, roster.reader, self._witnesses.state)
        self._verifying = Verifying(settings, self._committer, anchors, clock)
        self._beside: dict[str, Any] = {"events": self._events, "uses": self._events}
        self._beside["verification"] = self._verifying
        self._doors: set[asyncio.StreamWriter] = set()
        self._is_stopping = False
        self._started_at_us = clock()
        self._once = Once(self._started_at_us // 1_000_000)
        self._journal = journal_of(settings)

    async def run(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then answer what is inside; raises what breaks one of the tasks."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                parts = (self._committer, self._witnesses, self._twins, self._alerting, self._verifying)
                for part in parts:
                    tasks.create_task(part.run())
                tasks.create_task(self._committer.note_now_and_then())
                tasks.create_task(beat(self._committer, self._settings.heartbeat_s, self._clock))
                tasks.create_task(self._keys.purge_for_ever(self._committer.with_pen))
                tasks.create_task(self._refuse_late())
                tasks.create_task(self._events.purge_for_ever())
                tasks.create_task(Retaining(self._settings, self._perform, self._clock).run())
                tasks.create_task(Blocks(self._roster.reader, self._committer).run())
                await self._lanes.start(tasks)
                server = await asyncio.start_unix_server(self._serve, sock=listening)
                log.info("engine-ready", socket=str(self._settings.engine_socket))
                await stop.wait()
                server.close()
                await self._drain()
                _end_tasks()
        except* _Stopped:
            pass

    async def _drain(self) -> None:
        self._is_stopping = True
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.drain_s
        while (len(self._desk) or len(self._replays)) and loop.time() < until:
            await asyncio.sleep(0.01)
        await self._committer.note()
        log.info("engine-drained", left=len(self._desk))
        await desk.hang_up(self._doors)
        self._loading.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._doors.add(writer)
        try:
            async for frames in wire.groups(reader, self._settings.max_body_bytes):
                for frame in frames:
                    self._take(frame, writer)
        except wire.FrameRefused as refused:
            log.warning("frame-refused", reason=str(refused))
        except ConnectionError:
            pass  # the door is gone and its callers with it; what is under way is recorded all the same
        finally:
            self._doors.discard(writer)
            writer.close()

    def _take(self, frame: wire.Frame, writer: asyncio.StreamWriter) -> None:
        if "idempotency" in frame.head:
            self._tasks.create_task(self._take_once(frame, writer))
        else:
            self._do(frame, writer, None)

    async def _take_once(self, frame: wire.Frame, writer: asyncio.StreamWriter) -> None:
        """Do what was not done under this key before, or answer what is on record of it."""
        try:
            claimed = await self._keys.claim(frame)
        except Exception:  # noqa: BLE001  # whatever is wrong with one question, the engine lives on
            _misunderstood(frame, writer)
            return
        if isinstance(claimed, RequestKey):
            self._do(frame, writer, claimed)
        else:
            _reply(writer, frame, *claimed)

    def _do(self, frame: wire.Frame, writer: asyncio.StreamWriter, key: RequestKey | None) -> None:
        match frame.head.get("do"):
            case "predict" | "report":
                self._enter(frame, writer, key)
            case "replay":
                self._replay(frame, writer, key)
            case "state":
                self._state(frame, writer)
            case "events" | "uses" | "verification" as what:
                self._tasks.create_task(self._beside[what].take(frame, writer))
            case "once":
                _reply(writer, frame, *self._once.answer(frame.head, self._clock() // 1_000_000))
            case "change":
                self._tasks.create_task(self._change(frame, writer, key))
            case "failed":
                _reply(writer, frame, told(self._quotas.failed(str(frame.head.get("address")))), b"")
            case _:
                _reply(writer, frame, *desk.refusal("internal", "the engine does not know this question"))

    def _enter(self, frame: wire.Frame, writer: asyncio.StreamWriter, key: RequestKey | None) -> None:
        if (request := self._request(frame, writer, key)) is None:
            return
        is_report = frame.head["do"] == "report"
        request.uncounted = partial(self._quotas.give_back, request.client_id, frame.head.get("instances", 0))
        if self._is_stopping:
            desk.turn_away(request, "engine-unavailable", _STOPPING)
        elif not is_report and (refusal := self._quotas.refusal(request, frame.head.get("instances", 0))):
            desk.reply(request, *refusal)
        elif not self._desk.admit(request):
            desk.turn_away(request, "overloaded", "the queue is full; ask again in a second")
        elif is_report:
            self._tasks.create_task(reporting.record(request, frame.head, self._desk, self._committer.put))
        else:
            self._lanes.route(request)

    def _replay(self, frame: wire.Frame, writer: asyncio.StreamWriter, key: RequestKey | None) -> None:
        if (request := self._request(frame, writer, key)) is None:
            return
        if self._is_stopping:
            desk.turn_away(request, "engine-unavailable", _STOPPING)
        elif refusal := self._quotas.refusal(request, 0):
            desk.reply(request, *refusal)
        else:
            of, position = UUID(frame.head["of"]), frame.head["position"]
            self._replays.take(request, of, position, self._tasks.create_task)

    def _request(
        self, frame: wire.Frame, writer: asyncio.StreamWriter, key: RequestKey | None
    ) -> Request | None:
        """Read a request off its frame; where its head is none of ours, that is answered here."""
        frame.head.setdefault("model", "")  # replays and reports are of what is recorded
        deadline = asyncio.get_running_loop().time() + self._settings.answer_deadline_s
        try:
            request = desk.request_of(frame, writer, self._clock(), deadline, key)
        except _NOT_A_HEAD:
            self._keys.release(key)
            _misunderstood(frame, writer)
            return None
        request.left = None if key is None else partial(self._keys.release, key)
        return request

    async def _refuse_late(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            is_stuck, now = self._committer.is_stuck(), asyncio.get_running_loop().time()
            if late := self._desk.refuse_late(now, is_stuck=is_stuck):
                log.warning("refused-late", requests=late)

    def _state(self, frame: wire.Frame, writer: asyncio.StreamWriter) -> None:
        content = {
            "models": self._lanes.models(),
            "ledger": self._committer.state(),
            "witnesses": self._witnesses.state(),
            "alerts": self._alerting.state(),
            "twins": self._twins.state(),
            "waiting": len(self._desk),
            "pid": os.getpid(),
            "started_at_us": self._started_at_us,
        }
        _reply(writer, frame, {"status": 200, "record": None, "headers": {}}, orjson.dumps(content))

    async def _change(self, frame: wire.Frame, writer: asyncio.StreamWriter, key: RequestKey | None) -> None:
        try:
            done = await self._perform(frame.head, key)
        except KeyTaken:
            head, body = await self._keys.again(key) if key else desk.refusal("internal", "the change failed")
        except ChangeRefused as refused:
            log.warning("change-refused", change=frame.head.get("name"), reason=refused.detail)
            head, body = desk.refusal(refused.slug, refused.detail)
        except (LedgerForked, LedgerUnavailable, StorageUnavailable) as unavailable:
            log.warning("change-not-made", reason=str(unavailable))
            head, body = desk.refusal(
                "audit-unavailable", "the change is not known to be made; look, and ask again"
            )
        except Exception:
            log.exception("change-failed")
            head, body = desk.refusal("internal", "the change failed")
        else:
            head = {"status": 200, "record": done.record, "headers": {}}
            head |= {"receipt": done.receipt} if done.receipt is not None else {}
            body = orjson.dumps(done.result)
        self._keys.release(key)
        _reply(writer, frame, head, body)

    async def _perform(self, head: dict[str, Any], key: RequestKey | None = None) -> Done:
        asked = {name: head[name] for name in ("name", "args", "actor")}
        change = Change(**asked, now_us=self._clock(), key=key)
        # Planning may try a version out or read a long way; that must not keep the ledger's thread.
        try:
            plan = await asyncio.to_thread(self._plan, change)
        finally:
            await asyncio.to_thread(self._loading.rest)
        done = await self._committer.with_pen(lambda ledger: changes.perform(ledger, change, plan))
        await self._lanes.refresh()
        if plan.kind == Kind.ERASURE and done.record is not None:
            self._committer.soil()
            await asyncio.to_thread(self._journal.keep_if_possible, self._roster.reader)
        return done

    def _plan(self, change: Change) -> Plan:
        sources = Sources(
            table=self._roster.read(),
            loading=self._loading,
            reader=self._roster.reader,
            hold_key=self._ledger.hold_key,
        )
        return changes.plan(change, sources)


def _end_tasks() -> None:
    # asyncio.TaskGroup has no other way to end tasks that run for ever (Python docs, "Task groups").
    raise _Stopped


def _misunderstood(frame: wire.Frame, writer: asyncio.StreamWriter) -> None:
    log.exception("head-refused")
    _reply(writer, frame, *desk.refusal("internal", "the engine does not understand this door"))


def _reply(writer: asyncio.StreamWriter, frame: wire.Frame, head: dict[str, Any], body: bytes) -> None:
    desk.write(writer, wire.encode(frame.number, head, body))
