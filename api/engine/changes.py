"""The changes an operator can make, each under its name, each on record.

A change is planned (is it possible, what will it answer), then made and recorded in one transaction by
whoever holds the pen: the engine where one runs, otherwise the command itself. No secret is ever part of a
record.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from api import receipts
from api.engine import admitting, erasing, holding, versioning
from api.engine.plans import Change, ChangeRefused, Done, Plan, Sources, text_of
from db import clients, standing, versions
from db.erasure import ErasureStale
from db.holds import HoldNotFound
from db.records import Kind, Record, new_id

if TYPE_CHECKING:
    from db.ledger import Ledger


def plan(change: Change, sources: Sources) -> Plan:
    """Work out a change before the pen is needed; may take a second, where a model must prove that it loads.

    Raises:
        ChangeRefused: it cannot be made as things are.
    """
    match change.name.partition(".")[0]:
        case "client":
            return admitting.plan(change, sources)
        case "model" | "twin":
            return versioning.plan(change, sources.table, sources.loading)
        case "erasure":
            return erasing.plan(change, sources)
        case "hold":
            return holding.plan(change, sources)
        case "key":
            return _key(change)
        case "token":
            return _revoke_token(change, sources)
    raise ChangeRefused("validation", f"there is no change {change.name!r}")


def perform(ledger: Ledger, change: Change, planned: Plan) -> Done:
    """Make the change and its record durable together.

    Raises:
        ChangeRefused: it turned out impossible, nothing was changed.
        LedgerUnavailable: nothing is promised.
    """
    if planned.apply is None:
        return Done(record=None, result=planned.result)
    record = _record(change, planned)
    try:
        appended = ledger.change(record, planned.apply, planned.then)
    except ErasureStale as stale:
        raise ChangeRefused("moved", str(stale)) from stale
    except (
        HoldNotFound,
        clients.ClientNotFound,
        versions.VersionNotFound,
        versions.AliasNotFound,
    ) as refused:
        raise ChangeRefused("not-found", str(refused)) from refused
    except versions.VersionTaken as refused:
        raise ChangeRefused("validation", str(refused)) from refused
    except (versions.AliasMoved, clients.KeysMoved) as refused:
        raise ChangeRefused("precondition-failed", str(refused)) from refused
    secret = {} if planned.secret is None else {"client_secret": planned.secret}
    receipt = receipts.header(appended.receipts[0])
    return Done(record=str(record.id), result=planned.result | secret, receipt=receipt)


def _record(change: Change, planned: Plan) -> Record:
    key = {} if change.key is None else change.key.told()
    return Record(
        id=planned.id or new_id(change.now_us),
        kind=planned.kind,
        observed_at_us=change.now_us,
        client_id=str(change.actor["client_id"]),
        model=planned.model,
        version=planned.version,
        digest=None if planned.digest is None else bytes.fromhex(planned.digest),
        status=200,
        input=orjson.dumps(
            {"change": change.name, "args": dict(change.args if planned.said is None else planned.said)}
        ),
        output=orjson.dumps(planned.result),
        actor=orjson.dumps(dict(change.actor)),
        meta=orjson.dumps({"changed_at_us": time.time_ns() // 1000, **_sealed(planned), **key}),
        key=change.key,
    )


def _sealed(planned: Plan) -> dict[str, str]:
    """Put on record what a new secret hashes to, so that verification finds another one in its place."""
    return {} if planned.secret is None else {"secret_digest": clients.digest(planned.secret).hex()}


def _revoke_token(change: Change, sources: Sources) -> Plan:
    if change.name != "token.revoke":
        raise ChangeRefused("validation", f"there is no change {change.name!r}")
    jti, client_id, expires_at_us = (
        text_of(change, "jti"),
        text_of(change, "client_id"),
        change.args["expires_at_us"],
    )
    return Plan(
        kind=Kind.TOKEN,
        result={"jti": jti, "client_id": client_id, "expires_at_us": expires_at_us},
        apply=None
        if standing.is_revoked(sources.reader, jti)
        else lambda connection: standing.revoke(connection, jti, client_id, expires_at_us, change.now_us),
    )


def _key(change: Change) -> Plan:
    """Record a change of the keys that sign tokens; they are files of the doors, and no table knows them."""
    if change.name not in ("key.prepare", "key.rotate", "key.remove"):
        raise ChangeRefused("validation", f"there is no change {change.name!r}")
    return Plan(kind=Kind.KEY, result={"kid": text_of(change, "kid")}, apply=lambda _connection: None)
