"""The engine's desk: who is inside, who gets no more room, and how answers leave.

Every predict request is inside from the moment it is taken until it is answered, once. The bounds hold over
all models together; a request that outstays the deadline is refused here whatever it waits for, so that a
model that hangs keeps neither its callers nor the room of others.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from api import problems, wire
from api.engine.roster import CHAMPION
from db.records import RequestKey

RETRY = {"Retry-After": "1"}
FLUSH_S = 1.0


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """One predict request as the door sent it; `deadline` is in the event loop's clock."""

    door: asyncio.StreamWriter
    number: int
    record: UUID
    client_id: str
    actor: bytes
    model: str
    version: str
    alias: str | None
    received_at_us: int
    taken_at_us: int
    deadline: float
    body: bytes
    explain: bool = False  # so that it takes the lane in which nobody without reasons waits
    stage: str = "queue"
    key: RequestKey | None = None
    left: Callable[[], None] | None = None  # called when it is answered
    # What the contract says of its instances, where no door has read them (api/large.py).
    unread: Mapping[str, Any] | None = None
    uncounted: Callable[[], None] | None = None  # called when it is handed back


@dataclass(slots=True, frozen=True, kw_only=True)
class Answer:
    """The exact bytes of one answer and where they go."""

    request: Request
    status: int
    body: bytes
    receipt: str | None = None  # the value of the header OnRecord-Receipt, once there is one


class Desk:
    """Bounds what is inside the engine and writes what leaves it; lives on the event loop's thread.

    Other threads may ask `holds`; the ledger's says `records`, and from then on nobody hears that nothing was recorded.
    """

    def __init__(self, *, most_requests: int, most_bytes: int) -> None:
        self._most_requests, self._most_bytes = most_requests, most_bytes
        self._inside: dict[Request, None] = {}  # in order of arrival, which is the order of deadlines
        self._bytes = 0
        self._leaving = threading.Lock()

    def __len__(self) -> int:
        return len(self._inside)

    def admit(self, request: Request) -> bool:
        """Let a request in, or say that there is no room; an empty desk takes any size."""
        size = len(request.body)
        full = len(self._inside) >= self._most_requests or self._bytes + size > self._most_bytes
        if full and self._inside:
            return False
        self._inside[request] = None
        self._bytes += size
        return True

    def holds(self, request: Request) -> bool:
        """Say whether the request still waits for its answer."""
        return request in self._inside

    def records(self, request: Request) -> bool:
        """Note that the request's record is about to be written; False where it was refused, and must not be."""
        with self._leaving:
            if request not in self._inside:
                return False
            request.stage = "ledger"
            return True

    def answer(self, answers: Iterable[Answer]) -> None:
        """Write recorded answers, joined per door; what was refused meanwhile gets no second one."""
        frames: dict[asyncio.StreamWriter, list[bytes]] = {}
        for each in answers:
            request = each.request
            if self._leave(request):
                head = {"status": each.status, "record": str(request.record), "headers": {}}
                head |= {"receipt": each.receipt} if each.receipt is not None else {}
                frames.setdefault(request.door, []).append(wire.encode(request.number, head, each.body))
        for door, parts in frames.items():
            write(door, b"".join(parts))

    def hand(self, request: Request, head: dict[str, Any], body: bytes) -> None:
        """Write an answer that is on record already."""
        if self._leave(request):
            write(request.door, wire.encode(request.number, head, body))

    def refuse(self, requests: Iterable[Request], slug: str, detail: str, **extra: Any) -> None:
        """Answer a problem that is on no record, because nothing was predicted or nothing can be recorded."""
        for request in requests:
            if self._leave(request):
                turn_away(request, slug, detail, **extra)

    def hand_back(self, requests: Iterable[Request]) -> None:
        """Let doors read what they did not, as if it had never been here."""
        for request in requests:
            if self._leave(request):
                if request.uncounted is not None:
                    request.uncounted()
                head, body = refusal("validation", "the body is to be read before it is asked again")
                write(request.door, wire.encode(request.number, {**head, wire.HANDED_BACK: True}, body))

    def refuse_late(self, now: float, *, is_stuck: bool = False) -> int:
        """Refuse everyone whose deadline has passed and say how many there were.

        Where the ledger is stuck, those who wait behind what it cannot write are not told that a model was slow.
        """
        late = []
        for request in self._inside:
            if request.deadline > now:
                break
            late.append(request)
        for request in late:
            self._leave(request)  # first: what its stage is now, it stays
            if request.stage == "ledger":
                detail = "the record was being written when the time was up; look its id up"
                turn_away(request, "audit-unavailable", detail, record=str(request.record))
            else:
                slug = "audit-unavailable" if is_stuck else "prediction-timeout"
                turn_away(request, slug, "nothing was recorded; ask again later")
        return len(late)

    def _leave(self, request: Request) -> bool:
        with self._leaving:
            if request not in self._inside:
                return False
            del self._inside[request]
        self._bytes -= len(request.body)
        _let_go(request)
        return True


def request_of(
    frame: wire.Frame,
    door: asyncio.StreamWriter,
    taken_at_us: int,
    deadline: float,
    key: RequestKey | None,
) -> Request:
    """Read a request off its head; whatever is raised, the head is not one of this release."""
    head = frame.head
    version = head.get("version") or ""
    actor = {name: head[name] for name in ("client_id", "jti", "scope") if name in head}
    actor["client_id"] = head["client"]
    return Request(
        door=door,
        number=frame.number,
        record=UUID(head["record"]),
        client_id=head["client"],
        actor=orjson.dumps(actor),
        model=head["model"],
        version=version,
        alias=None if version else head.get("alias") or CHAMPION,
        received_at_us=head["received_at_us"],
        taken_at_us=taken_at_us,
        deadline=deadline,
        body=frame.body,
        explain=head.get("explain") is True,
        unread=head.get("unread"),
        key=key,
    )


def turn_away(request: Request, slug: str, detail: str, **extra: Any) -> None:
    """Answer a problem that is on no record to a request that is not inside."""
    reply(request, *refusal(slug, detail, **extra))


def reply(request: Request, head: dict[str, Any], body: bytes) -> None:
    """Answer a request that is not inside."""
    _let_go(request)
    write(request.door, wire.encode(request.number, head, body))


def _let_go(request: Request) -> None:
    if request.left is not None:
        request.left()


def refusal(slug: str, detail: str, **extra: Any) -> tuple[dict[str, Any], bytes]:
    """Make head and body of a problem that is on no record; what may work later says when to ask again."""
    status = problems.PROBLEMS[slug].status
    head = {"status": status, "record": None, "headers": RETRY if status == 503 else {}}
    return head, problems.body(slug, detail, **extra)


def write(door: asyncio.StreamWriter, frames: bytes) -> None:
    """Hand frames to the door's socket; a door that is gone has nobody left to answer."""
    if not door.is_closing():
        door.write(frames)


async def hang_up(doors: Iterable[asyncio.StreamWriter]) -> None:
    """Close every line, each when what is buffered for it has been written, or its time for that is up."""
    lines = list(doors)
    for line in lines:
        line.close()
    flushing = asyncio.gather(*(line.wait_closed() for line in lines), return_exceptions=True)
    await asyncio.wait({flushing}, timeout=FLUSH_S)
