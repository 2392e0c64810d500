"""Planning a legal hold, and lifting one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from api import times
from api.engine.plans import Change, ChangeRefused, Plan, Sources
from db import holds
from db.engine import reading
from db.finding import Wanted, candidates
from db.holds import Hold
from db.lookups import RecordNotFound
from db.records import Kind, new_id


def plan(change: Change, sources: Sources) -> Plan:
    """Plan to begin a hold, or to end one.

    Raises:
        ChangeRefused: there is no such record, or no such hold.
    """
    match change.name:
        case "hold.add":
            return _add(change, sources)
        case "hold.lift":
            return _lift(change, sources)
    raise ChangeRefused("validation", f"there is no change {change.name!r}")


def _add(change: Change, sources: Sources) -> Plan:
    new = _hold(change, sources)
    if new.record_id is not None:
        _look_up(sources.reader, new.record_id)
    said = {
        "record": None if new.record_id is None else str(new.record_id),
        "reference": None if new.reference is None else new.reference.hex(),
        "client": new.client_id,
        "model": new.model,
        "reason": new.reason,
        "until_us": new.until_us,
    }
    return Plan(
        kind=Kind.HOLD,
        id=new.id,
        result={"hold": str(new.id), "active": new.is_active(change.now_us)},
        said={name: value for name, value in said.items() if value is not None},
        apply=lambda connection: holds.add(connection, new),
    )


def _hold(change: Change, sources: Sources) -> Hold:
    args, select = change.args, change.args["select"]
    record = select.get("record") or select.get("prediction", "").partition(".")[0]
    reference, until = select.get("reference"), args.get("until")
    until_us = None if until is None else times.read_us(until)
    return Hold(
        id=new_id(change.now_us),
        record_id=UUID(record) if record else None,
        reference=None if reference is None else holds.hashed(reference, sources.hold_key),
        client_id=select.get("client"),
        model=select.get("model"),
        reason=args["reason"],
        created_at_us=change.now_us,
        until_us=until_us,
    )


def _lift(change: Change, sources: Sources) -> Plan:
    hold = UUID(change.args["hold"])
    known = {each.id for each in holds.listing(sources.reader) if each.lifted_at_us is None}
    if hold not in known:
        raise ChangeRefused("not-found", f"there is no hold {hold} that could be lifted")
    return Plan(
        kind=Kind.HOLD,
        result={"hold": str(hold), "active": False},
        said={"hold": str(hold), "reason": change.args["reason"]},
        apply=lambda connection: holds.lift(connection, hold, change.now_us),
    )


def _look_up(reader: Any, record_id: UUID) -> None:
    with reading(reader) as connection:
        try:
            candidates(connection, Wanted(fields=0, record_id=record_id), 1)
        except RecordNotFound as missing:
            raise ChangeRefused("not-found", "there is no such record") from missing
