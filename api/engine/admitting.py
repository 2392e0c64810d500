"""Clients: let in, turned away, given another secret. No secret is part of a record, only of the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api import times
from api.engine.plans import Change, ChangeRefused, Plan, Sources, text_of
from api.jwks import NoKey, read_registered
from db import clients, standing
from db.records import Kind

LONGEST_GRACE_S = 31_536_000  # a year


def plan(change: Change, sources: Sources) -> Plan:
    """Work out a change of a client.

    Raises:
        ChangeRefused: it cannot be made as things are.
    """
    match change.name:
        case "client.add":
            return _add(change)
        case "client.disable":
            return _disable(change, sources)
        case "client.rotate":
            return _rotate(change)
        case "client.revoke":
            return _revoke(change)
        case "client.keys":
            return _keys(change)
    raise ChangeRefused("validation", f"there is no change {change.name!r}")


def _add(change: Change) -> Plan:
    try:
        client = clients.new(
            text_of(change, "name"), frozenset(text_of(change, "scope").split()), change.now_us
        )
    except clients.BadClient as refused:
        raise ChangeRefused("validation", str(refused)) from refused
    scope = " ".join(sorted(client.scope))
    result: dict[str, Any] = {"client_id": client.client_id, "name": client.name, "scope": scope}
    secret: str | None = clients.new_secret()
    if "jwks" in change.args and (jwks := _registered(change))["keys"]:
        # Known by its key, it needs no secret that could be stolen.
        client, secret = replace(client, jwks=clients.jwks_text(jwks)), None
        result["jwks"] = jwks
    return Plan(
        kind=Kind.CLIENT,
        result=result,
        apply=lambda connection: clients.add(connection, client, secret),
        secret=secret,
    )


def _disable(change: Change, sources: Sources) -> Plan:
    client_id = text_of(change, "client_id")
    client = clients.read(sources.reader, client_id)
    before_us = None if client is None else client.disabled_at_us
    at_us = change.now_us if before_us is None else before_us
    return Plan(
        kind=Kind.CLIENT,
        result={"client_id": client_id, "status": "disabled", "disabled_at": times.text(at_us)},
        apply=None
        if before_us is not None
        else lambda connection: clients.disable(connection, client_id, change.now_us),
    )


def _rotate(change: Change) -> Plan:
    client_id, secret = text_of(change, "client_id"), clients.new_secret()
    grace_s = change.args.get("previous_expires_in")
    if grace_s is not None and not (type(grace_s) is int and 0 <= grace_s <= LONGEST_GRACE_S):
        detail = f"previous_expires_in is a whole number of seconds, {LONGEST_GRACE_S} at most"
        raise ChangeRefused("validation", detail)
    until_us = None if grace_s is None else change.now_us + grace_s * 1_000_000
    result = {"client_id": client_id, "rotated_at": times.text(change.now_us)}
    return Plan(
        kind=Kind.CLIENT,
        result=result | ({} if grace_s is None else {"previous_expires_in": grace_s}),
        apply=lambda connection: clients.rotate(connection, client_id, secret, change.now_us, until_us),
        secret=secret,
    )


def _keys(change: Change) -> Plan:
    """Let a client be known by other public keys, if it still has those that were seen."""
    client_id, jwks = text_of(change, "client_id"), _registered(change)

    def apply(connection: Any) -> None:
        if "seen" in change.args:
            clients.expect_keys(connection, client_id, change.args["seen"])
        clients.put_keys(connection, client_id, clients.jwks_text(jwks))

    result = {"client_id": client_id, "jwks": jwks}
    return Plan(kind=Kind.CLIENT, result=result, apply=apply, said=result)


def _registered(change: Change) -> dict[str, list[dict[str, str]]]:
    try:
        return read_registered(change.args.get("jwks"))
    except NoKey as refused:
        raise ChangeRefused("validation", f"jwks {refused}") from refused


def _revoke(change: Change) -> Plan:
    """Void all tokens of a client, whoever has them."""
    client_id = text_of(change, "client_id")

    def apply(connection: Any) -> None:
        if not standing.revoke_all(connection, client_id, change.now_us):
            raise clients.ClientNotFound(client_id)

    result = {"client_id": client_id, "tokens_not_before": times.text(change.now_us)}
    return Plan(kind=Kind.CLIENT, result=result, apply=apply)
