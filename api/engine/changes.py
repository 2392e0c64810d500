"""The changes an operator can make, each under its name, each on record.

A change is planned (is it possible, what will it answer), then made and recorded in one transaction by
whoever holds the pen: the engine where one runs, otherwise the command itself. No secret is ever part of a
record.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from api import receipts
from api.engine import erasing, holding
from api.engine.loading import Loading, NoArtefact
from api.engine.plans import Change, ChangeRefused, Done, Plan, Sources
from api.engine.roster import CHAMPION, Table
from db import clients, standing, versions
from db.erasure import ErasureStale
from db.holds import HoldNotFound
from db.records import Kind, Record, new_id
from db.versions import Alias

if TYPE_CHECKING:
    from db.ledger import Ledger


def plan(change: Change, sources: Sources) -> Plan:
    """Work out a change before the pen is needed; may take a second, where a model must prove that it loads.

    Raises:
        ChangeRefused: it cannot be made as things are.
    """
    match change.name.partition(".")[0]:
        case "client":
            return _plan_client(change)
        case "model":
            return _plan_model(change, sources.table, sources.loading)
        case "erasure":
            return erasing.plan(change, sources)
        case "hold":
            return holding.plan(change, sources)
        case "key":
            return _key(change)
        case "token":
            return _revoke_token(change, sources)
    raise ChangeRefused("validation", f"there is no change {change.name!r}")


def _plan_client(change: Change) -> Plan:
    match change.name:
        case "client.add":
            return _add_client(change)
        case "client.disable":
            return _disable_client(change)
        case "client.rotate":
            return _rotate_client(change)
        case "client.revoke":
            return _revoke_client(change)
    raise ChangeRefused("validation", f"there is no change {change.name!r}")


def _plan_model(change: Change, table: Table, loading: Loading) -> Plan:
    match change.name:
        case "model.register":
            return _register(change, table, loading)
        case "model.promote":
            return _promote(change, table, loading)
        case "model.rollback":
            return _rollback(change, table)
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
    except versions.AliasMoved as refused:
        raise ChangeRefused("precondition-failed", str(refused)) from refused
    secret = {} if planned.secret is None else {"client_secret": planned.secret}
    receipt = receipts.header(appended.receipts[0])
    return Done(record=str(record.id), result=planned.result | secret, receipt=receipt)


def _record(change: Change, planned: Plan) -> Record:
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
        meta=orjson.dumps({"changed_at_us": time.time_ns() // 1000}),
    )


def _add_client(change: Change) -> Plan:
    try:
        client = clients.new(_text(change, "name"), frozenset(_text(change, "scope").split()), change.now_us)
    except clients.BadClient as refused:
        raise ChangeRefused("validation", str(refused)) from refused
    secret = clients.new_secret()
    scope = " ".join(sorted(client.scope))
    return Plan(
        kind=Kind.CLIENT,
        result={"client_id": client.client_id, "name": client.name, "scope": scope},
        apply=lambda connection: clients.add(connection, client, secret),
        secret=secret,
    )


def _disable_client(change: Change) -> Plan:
    client_id = _text(change, "client_id")
    return Plan(
        kind=Kind.CLIENT,
        result={"client_id": client_id, "disabled_at_us": change.now_us},
        apply=lambda connection: clients.disable(connection, client_id, change.now_us),
    )


def _rotate_client(change: Change) -> Plan:
    client_id, secret = _text(change, "client_id"), clients.new_secret()
    return Plan(
        kind=Kind.CLIENT,
        result={"client_id": client_id, "rotated_at_us": change.now_us},
        apply=lambda connection: clients.rotate(connection, client_id, secret, change.now_us),
        secret=secret,
    )


def _revoke_client(change: Change) -> Plan:
    """Void all tokens of a client, whoever has them."""
    client_id = _text(change, "client_id")

    def apply(connection: Any) -> None:
        if not standing.revoke_all(connection, client_id, change.now_us):
            raise clients.ClientNotFound(client_id)

    result = {"client_id": client_id, "not_before_us": change.now_us}
    return Plan(kind=Kind.CLIENT, result=result, apply=apply)


def _revoke_token(change: Change, sources: Sources) -> Plan:
    if change.name != "token.revoke":
        raise ChangeRefused("validation", f"there is no change {change.name!r}")
    jti, client_id, expires_at_us = (
        _text(change, "jti"),
        _text(change, "client_id"),
        change.args["expires_at_us"],
    )
    return Plan(
        kind=Kind.TOKEN,
        result={"jti": jti, "client_id": client_id, "expires_at_us": expires_at_us},
        apply=None
        if standing.is_revoked(sources.reader, jti)
        else lambda connection: standing.revoke(connection, jti, client_id, expires_at_us, change.now_us),
    )


def _register(change: Change, table: Table, loading: Loading) -> Plan:
    model, version = _text(change, "model"), _text(change, "version")
    try:
        digest = loading.digest(model, version)
    except NoArtefact as missing:
        raise ChangeRefused("not-found", str(missing)) from missing
    known = table.versions.get((model, version))
    if known is not None and known.digest != digest:
        raise ChangeRefused(
            "validation",
            f"version {version} of {model} is registered with another digest; train a new version instead",
        )
    return Plan(
        kind=Kind.MODEL,
        result={"model": model, "version": version, "digest": digest},
        apply=None
        if known
        else lambda connection: versions.register(connection, model, version, digest, change.now_us),
        model=model,
        version=version,
        digest=digest,
    )


def _promote(change: Change, table: Table, loading: Loading) -> Plan:
    model, version = _text(change, "model"), _text(change, "version")
    alias = _text(change, "alias", CHAMPION)
    found = table.versions.get((model, version))
    if found is None:
        raise ChangeRefused("not-found", f"model {model} has no registered version {version}")
    before = table.aliases.get((model, alias))
    is_there = before is not None and before.version == version
    if not _is_as_seen(change, before):
        raise ChangeRefused("precondition-failed", str(versions.AliasMoved(model, alias)))
    if not is_there:
        try:
            loading.load(model, version, found.digest)
        except Exception as refused:  # whatever is wrong with the artefact, an alias must not point to it
            raise ChangeRefused("model-refused", f"version {version} is not promoted: {refused}") from refused

    def apply(connection: Any) -> None:
        if "seen_us" in change.args:
            versions.expect(connection, model, alias, change.args["seen_us"])
        versions.promote(connection, model, alias, version, change.now_us)

    return Plan(
        kind=Kind.MODEL,
        result=asdict(
            before if before is not None and is_there else _moved(change, model, alias, version, before)
        ),
        apply=None if is_there else apply,
        model=model,
        version=version,
        digest=found.digest,
        # Who moves an alias by its ETag or by command says the same; what it had seen is no part of what it did.
        said={name: value for name, value in change.args.items() if name != "seen_us"},
    )


def _is_as_seen(change: Change, alias: Alias | None) -> bool:
    """Say whether the alias is what its mover has seen; a command has seen nothing and wants it whatever it is."""
    return "seen_us" not in change.args or change.args["seen_us"] == (alias and alias.changed_at_us)


def _rollback(change: Change, table: Table) -> Plan:
    model, alias = _text(change, "model"), _text(change, "alias", CHAMPION)
    before = table.aliases.get((model, alias))
    if before is None or before.previous is None:
        raise ChangeRefused("not-found", f"alias {alias} of {model} has no version to return to")
    found = table.versions[model, before.previous]

    def apply(connection: Any) -> None:
        if versions.rollback(connection, model, alias, change.now_us) != found.version:
            raise ChangeRefused("validation", f"alias {alias} was moved meanwhile; look, and ask again")

    return Plan(
        kind=Kind.MODEL,
        result=asdict(_moved(change, model, alias, found.version, before)),
        apply=apply,
        model=model,
        version=found.version,
        digest=found.digest,
    )


def _key(change: Change) -> Plan:
    """Record a change of the keys that sign tokens; they are files of the doors, and no table knows them."""
    if change.name not in ("key.prepare", "key.rotate", "key.remove"):
        raise ChangeRefused("validation", f"there is no change {change.name!r}")
    return Plan(kind=Kind.KEY, result={"kid": _text(change, "kid")}, apply=lambda _connection: None)


def _moved(change: Change, model: str, alias: str, version: str, before: Alias | None) -> Alias:
    previous = None if before is None else before.version
    return Alias(model=model, alias=alias, version=version, previous=previous, changed_at_us=change.now_us)


def _text(change: Change, name: str, default: str | None = None) -> str:
    value = change.args.get(name, default)
    if not isinstance(value, str) or not value:
        raise ChangeRefused("validation", f"{change.name} needs {name}, a text")
    return value
