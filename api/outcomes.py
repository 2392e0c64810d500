"""Outcomes: what really happened, reported later and by whoever knows it; corrected as often as it must be.

Every report is a record, and the newest one about a prediction is what is known. Whoever may report finds the
predictions of its own client; with `audit:read`, everybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio.to_thread
import orjson

from api import conditions, outcome_rows, times
from api.calls import Answer, Call
from api.composition import ModelContract
from api.judging import Judge, NotPossible, Reported
from api.keyed import keyed
from api.line import EngineUnavailable, Line, recorded, unavailable
from api.predictions import own
from api.problems import RequestRefused
from api.schemas import Schema
from db.derivations import NONE_YET
from db.lookups import RecordNotFound
from db.outcomes import Outcomes as Past
from db.outcomes import Report, Subject
from db.records import new_id

NEWEST = 100  # reports that are shown of one prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Asks the database what is known, and the engine to record what is new."""

    line: Line
    past: Past
    models: Mapping[str, ModelContract]
    report: Schema
    root_path: str
    clock_us: Callable[[], int]
    max_body_bytes: int

    def read(self, call: Call) -> Answer:
        """Show what is known to have happened, and what was reported before."""
        content = self._shown(call, self._subject(call))
        if content is None:
            raise RecordNotFound(call.path["id"])
        return Answer(content=content)

    async def put(self, call: Call) -> Answer:
        """Record one outcome; the same one again is no news, and changes nothing."""
        reported, after = await anyio.to_thread.run_sync(self._one, call)
        known = reported.subject.known
        if known is not None and reported.is_known:
            said = {"record": str(known.record), **_about(reported.subject), "value": known.shown}
            said |= {"observed_at": times.text(known.observed_at_us)}
            return Answer(content=said | {"reported_at": times.text(known.reported_at_us)})
        told = {"rows": [reported.told()]}
        head = {"one": True, "after": after, "status": 201 if known is None else 200}
        return await self._record(call, f"PUT /v1/predictions/{call.path['id']}/outcome", head, told)

    async def create(self, call: Call) -> Answer:
        """Record all that can be recorded of many rows, in one piece, and answer each."""
        rows, judged = await anyio.to_thread.run_sync(self._many, call)
        results = [_result(number, each) for number, each in enumerate(judged)]
        news = [
            (at, each) for at, each in enumerate(judged) if isinstance(each, Reported) and not each.is_known
        ]
        counts = {"unchanged": 0, "refused": 0}
        for each in results:
            counts[each["status"]] = counts.get(each["status"], 0) + 1
        if not news:
            return Answer(content={"recorded": 0, **counts, "results": results})
        told = {
            "rows": [{"row": at, **each.told()} for at, each in news],
            "results": results,
            "of": len(rows),
        }
        return await self._record(call, "POST /v1/outcomes", {"one": False, "status": 201}, told | counts)

    async def _record(
        self, call: Call, operation: str, head: Mapping[str, Any], told: Mapping[str, Any]
    ) -> Answer:
        received_at_us = self.clock_us()
        record = str(new_id(received_at_us))
        body = orjson.dumps(told)
        if len(body) > self.max_body_bytes:
            raise RequestRefused(
                "too-large", "written out, these rows are too large; send them in several requests"
            )
        asked = {
            "do": "report",
            "record": record,
            "client": call.caller.client_id,
            "jti": call.caller.jti,
            "received_at_us": received_at_us,
            **head,
            **keyed(call, operation),
        }
        try:
            frame = await self.line.ask(asked, body)
        except EngineUnavailable as lost:
            raise unavailable(record) from lost
        return recorded(frame, self.root_path)

    def _one(self, call: Call) -> tuple[Reported, int | None]:
        subject = self._subject(call)
        after = None
        if {"if-match", "if-none-match"} & call.headers.keys():
            content = self._shown(call, subject)
            conditions.check(call.headers, None if content is None else conditions.tag(orjson.dumps(content)))
            after = NONE_YET if subject.known is None else subject.known.idx
        try:
            return self._judge(call).judge(subject, call.body), after
        except NotPossible as refused:
            pointer = "/observed_at" if refused.reason.startswith("observed") else "/value"
            errors = [{"pointer": pointer, "detail": refused.detail}]
            raise RequestRefused("impossible-outcome", "1 violation", errors=errors) from refused

    def _many(self, call: Call) -> tuple[Sequence[Mapping[str, Any]], list[Reported | NotPossible]]:
        rows = outcome_rows.read(call, self.report)
        return rows, self._judge(call).all(rows)

    def _judge(self, call: Call) -> Judge:
        mine = own(call.caller)
        return Judge(models=self.models, outcomes=self.past, client_id=mine, now_us=self.clock_us())

    def _subject(self, call: Call) -> Subject:
        record, _, position = call.path["id"].partition(".")
        return self.past.subject(UUID(record), int(position), own(call.caller))

    def _shown(self, call: Call, subject: Subject) -> dict[str, Any] | None:
        """Show what is known of a prediction: nothing, where nobody has reported anything."""
        known = subject.known
        if known is None:
            return None
        mine = own(call.caller)
        history = [_report(each, mine) for each in self.past.history(subject, NEWEST)]
        newest = next((each for each in history if each["record"] == str(known.record)), {})
        optional: dict[str, Any] = {
            name: newest[name] for name in ("client", "value", "erased") if name in newest
        }
        content: dict[str, Any] = {"record": str(known.record), **_about(subject), **optional}
        content["observed_at"] = times.text(known.observed_at_us)
        return content | {"reported_at": times.text(known.reported_at_us), "history": history}


def _about(subject: Subject) -> dict[str, Any]:
    return {"prediction": subject.id, "model": subject.model, "version": subject.version}


def _report(each: Report, mine: str | None) -> dict[str, Any]:
    """Show one report; who made it is for auditors, and for itself."""
    content: dict[str, Any] = {"record": str(each.record)}
    content |= {"client": each.client_id} if each.client_id and mine in (None, each.client_id) else {}
    if each.value is None or each.observed_at_us is None:
        content["erased"] = True
    else:
        content |= {"value": each.value, "observed_at": times.text(each.observed_at_us)}
    return content | {"reported_at": times.text(each.reported_at_us)}


def _result(number: int, judged: Reported | NotPossible) -> dict[str, Any]:
    """Answer one row, as far as it can be before it is recorded."""
    if isinstance(judged, NotPossible):
        return {"row": number, "status": "refused", "reason": judged.reason, "detail": judged.detail}
    known = judged.subject.known
    if known is not None and judged.is_known:
        about = {"prediction": judged.subject.id, "record": str(known.record)}
        return {"row": number, "status": "unchanged", **about}
    status = "recorded" if known is None else "corrected"
    return {"row": number, "status": status, "prediction": judged.subject.id}
