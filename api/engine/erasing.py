"""Planning an erasure: which records, which of their fields, and what the record of it may say.

One change erases at most one batch and has one record; `next` in its answer says where another one would go on. What is
recorded names places in the ledger and no value of anybody's: not the reference that was asked for, not the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from api import times
from api.engine.plans import Change, ChangeRefused, Plan, Sources
from api.readings import SIX_MONTHS
from db import erasure
from db.erasure import Batch, NotErasable, Target
from db.finding import Wanted
from db.holds import HoldKeyLost
from db.lookups import RecordNotFound
from db.records import Kind, mask, new_id

DAY_US = 86_400_000_000
FIELDS = ("input", "output", "meta")  # what goes unless told; who asked stays
SELECTORS = (
    "records",
    "record",
    "prediction",
    "reference",
    "client",
    "older_than",
)  # the first that is given is meant


def plan(change: Change, sources: Sources) -> Plan:
    """Find what can be erased now; nothing is erased by a dry run, or where nothing is left.

    Raises:
        ChangeRefused: there is no such record, all of it is held, or it may not be erased.
    """
    _refuse_young(change)
    wanted = _wanted(change)
    try:
        batch = erasure.find(sources.reader, wanted, sources.hold_key, change.now_us)
    except RecordNotFound as missing:
        raise ChangeRefused("not-found", "there is no such record") from missing
    except NotErasable as refused:
        raise ChangeRefused("not-erasable", str(refused)) from refused
    except HoldKeyLost as lost:
        raise ChangeRefused("held", str(lost)) from lost
    is_dry = bool(change.args.get("dry_run"))
    if batch.held and not batch.targets and wanted.after < 0 and batch.following is None and not is_dry:
        raise ChangeRefused("held", f"all of it is held by {', '.join(map(str, _holds(batch.held)))}")
    if is_dry or not batch.targets:
        return Plan(kind=Kind.ERASURE, result=_result(batch) | {"dry_run": is_dry}, apply=None)
    return _real(change, sources, batch)


def _real(change: Change, sources: Sources, batch: Batch) -> Plan:
    record, targets = new_id(change.now_us), batch.targets
    return Plan(
        kind=Kind.ERASURE,
        id=record,
        result={"record": str(record)} | _result(batch) | {"dry_run": False},
        said=_said(change, targets),
        apply=lambda connection: erasure.check(connection, targets, sources.hold_key, change.now_us),
        then=lambda connection, place: erasure.erase(connection, place, targets),
    )


def _refuse_young(change: Change) -> None:
    before = change.args["select"].get("older_than")
    if before is None or change.args.get("under_six_months"):
        return
    if times.read_us(before) > change.now_us - SIX_MONTHS * DAY_US:
        raise ChangeRefused(
            "not-erasable",
            f"older_than {before} is less than {SIX_MONTHS} days ago, and Regulation (EU) 2024/1689 (Art. 19, 26) asks"
            " for six months at least; if that is none of your concern, say under_six_months",
        )


def _wanted(change: Change) -> Wanted:
    args, select = change.args, change.args["select"]
    record = select.get("record") or select.get("prediction", "").partition(".")[0]
    before = select.get("older_than")
    return Wanted(
        fields=mask(args.get("fields", FIELDS)),
        record_id=UUID(record) if record else None,
        record_ids=tuple(map(UUID, select.get("records", ()))),
        reference=select.get("reference"),
        client_id=select.get("client"),
        model=select.get("model"),
        before_us=None if before is None else times.read_us(before),
        after=args.get("after", -1),
    )


def _said(change: Change, targets: Sequence[Target]) -> dict[str, Any]:
    args, select = change.args, change.args["select"]
    said = {"by": next(name for name in SELECTORS if name in select), "ground": args["ground"]}
    said |= {"reason": args["reason"], "fields": list(args.get("fields", FIELDS))}
    said |= {name: select[name] for name in ("older_than", "model") if name in select}
    return said | {"erased": erasure.listed(targets), "derived": erasure.origins(targets)}


def _result(batch: Batch) -> dict[str, Any]:
    held = _holds(batch.held)
    following = {} if batch.following is None else {"next": batch.following}
    return {
        "records": len(batch.targets),
        "predictions": sum(each.rows for each in batch.targets),
        "derived": sum(each.of is not None for each in batch.targets),
        "held": {"records": len(batch.held), "holds": list(map(str, held))},
    } | following


def _holds(held: Iterable[Target]) -> list[UUID]:
    return sorted({hold for each in held for hold in each.holds})
