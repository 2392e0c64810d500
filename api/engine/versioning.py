"""Changes of versions and aliases: what is registered for ever, and which version an alias means from now on.

Whatever would come to answer is tried out in another process before anything is planned with it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from api.engine.loading import Loading, NoArtefact
from api.engine.plans import Change, ChangeRefused, Plan, text_of
from api.engine.roster import CHAMPION, Table
from db import versions
from db.records import Kind
from db.versions import Alias, Registered


def plan(change: Change, table: Table, loading: Loading) -> Plan:
    """Work out a registration, a promotion or a rollback; tries the version out, which takes seconds."""
    match change.name:
        case "model.register":
            return _register(change, table, loading)
        case "model.promote":
            return _promote(change, table, loading)
        case "model.rollback":
            return _rollback(change, table, loading)
        case "twin.on" | "twin.off":
            return _switch_twin(change, table, loading)
    raise ChangeRefused("validation", f"there is no change {change.name!r}")


def _register(change: Change, table: Table, loading: Loading) -> Plan:
    model, version = text_of(change, "model"), text_of(change, "version")
    try:
        digest, manifest = loading.digests(model, version)
    except NoArtefact as missing:
        raise ChangeRefused("not-found", str(missing)) from missing
    known = table.versions.get((model, version))
    if known is not None and (known.digest != digest or known.manifest not in (None, manifest)):
        raise ChangeRefused(
            "validation",
            f"version {version} of {model} is registered with another pickle or manifest "
            f"(digests {known.digest} and {known.manifest}); restore them, or train a new version",
        )
    new = Registered(
        model=model, version=version, digest=digest, manifest=manifest, registered_at_us=change.now_us
    )
    is_there = known is not None and known.manifest is not None
    if not is_there:
        _insist_that_it_loads(new, loading, "registered")
    return Plan(
        kind=Kind.MODEL,
        result={"model": model, "version": version, "digest": digest, "manifest": manifest},
        apply=None if is_there else lambda connection: versions.register(connection, new),
        model=model,
        version=version,
        digest=digest,
    )


def _insist_that_it_loads(found: Registered, loading: Loading, wanted: str) -> None:
    try:
        loading.prove(found)
    except Exception as refused:  # whatever is wrong with the artefact, it must not come to answer
        raise ChangeRefused(
            "model-refused", f"version {found.version} is not {wanted}: {refused}"
        ) from refused


def _promote(change: Change, table: Table, loading: Loading) -> Plan:
    model, version = text_of(change, "model"), text_of(change, "version")
    alias = text_of(change, "alias", CHAMPION)
    found = table.versions.get((model, version))
    if found is None:
        raise ChangeRefused("not-found", f"model {model} has no registered version {version}")
    before = table.aliases.get((model, alias))
    is_there = before is not None and before.version == version
    if not _is_as_seen(change, before):
        raise ChangeRefused("precondition-failed", str(versions.AliasMoved(model, alias)))
    if not is_there:
        _insist_that_it_loads(found, loading, "promoted")

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


def _rollback(change: Change, table: Table, loading: Loading) -> Plan:
    model, alias = text_of(change, "model"), text_of(change, "alias", CHAMPION)
    before = table.aliases.get((model, alias))
    if before is None or before.previous is None:
        raise ChangeRefused("not-found", f"alias {alias} of {model} has no version to return to")
    found = table.versions[model, before.previous]
    _insist_that_it_loads(found, loading, "returned to")

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


def _switch_twin(change: Change, table: Table, loading: Loading) -> Plan:
    """Keep a version's twin from answering, or let it answer again once it has proved itself anew."""
    model, version = text_of(change, "model"), text_of(change, "version")
    found = table.versions.get((model, version))
    if found is None:
        raise ChangeRefused("not-found", f"model {model} has no registered version {version}")
    is_off, wants_off = found.twin_off_at_us is not None, change.name == "twin.off"
    if is_off and not wants_off:
        _insist_that_it_loads(found, loading, "given its twin again")
    off_at_us = (found.twin_off_at_us or change.now_us) if wants_off else None
    return Plan(
        kind=Kind.TWIN,
        result={"model": model, "version": version, "off_at_us": off_at_us},
        apply=None
        if is_off == wants_off
        else lambda connection: versions.switch_twin(connection, model, version, off_at_us),
        model=model,
        version=version,
        digest=found.digest,
    )


def _moved(change: Change, model: str, alias: str, version: str, before: Alias | None) -> Alias:
    previous = None if before is None else before.version
    return Alias(model=model, alias=alias, version=version, previous=previous, changed_at_us=change.now_us)
