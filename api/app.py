"""The composition root of a door: the only file that knows everyone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.types import ASGIApp

import db.clients
import db.heads
import db.holds
import db.outcomes
import db.security_events
import db.standing
import db.usage
import db.verifications
import db.versions
from api import authority, conditions, contract, direct, keys, wire
from api.alerting import rules
from api.alerts import Alerts
from api.aliases import Aliases
from api.assertions import Assertions
from api.authority import Foreign
from api.callers import Callers
from api.catalog import Catalog
from api.changing import Changing
from api.clients import Clients
from api.credentials import Ways
from api.document import Document
from api.drift import Drift
from api.erasures import Erasures
from api.events import Events
from api.frames import Frames
from api.front import Front
from api.guard import Guard
from api.health import Health
from api.holds import Holds
from api.ledger import Ledger
from api.line import Line
from api.metrics import Metrics
from api.outcomes import Outcomes
from api.pages.application import create_pages
from api.pages.calling import Inside
from api.performance import Performance
from api.predictions import Predictions
from api.records import Records
from api.replays import Replays
from api.schemas import Schema
from api.security_events import SecurityEvents
from api.settings import Settings
from api.split import split
from api.throttle import Failures, Throttle
from api.tokens import Elsewhere, Tokens
from api.usage import Usage
from api.uses import Uses
from api.verifications import Verifications
from db.engine import open_reader
from db.lookups import Lookups
from db.proofs import Proofs

CONTRACT = Path(__file__).parent.parent / "openapi"
# A door waits a little longer than the engine lets a request wait, so that the engine's own answer arrives first.
GRACE_S = 2


def create_door(settings: Settings) -> ASGIApp:
    """Build one door: contract, handlers, tokens, pages. It opens the database read-only and holds no model.

    Raises:
        ContractRefused, KeyRefused, StorageRefused: naming what to change; nothing is half started.
    """
    agreed = contract.read(CONTRACT, settings.max_instances)
    rules.insist_on_hosts({name: each.alerts for name, each in agreed.models.items()}, settings.allowed_hosts)
    issuer = authority.of(settings)
    reader = open_reader(settings.database_url)
    line = Line(settings.engine_socket, wire.ANSWER_BYTES, settings.answer_deadline_s + GRACE_S)
    events = Events(line, _now_us)
    failures = Failures(line, settings.failures_per_address)
    inside = Inside()
    uses = Uses(line, _now_us)
    callers = Callers(issuer, lambda: db.standing.read(reader, _now_us()), _now_s, seen=uses.note)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        inside.begin()
        # Before the first request: a client that was disabled stays so across a restart.
        await callers.refresh()
        refreshing = asyncio.create_task(callers.refresh_for_ever())
        delivering = [asyncio.create_task(each.deliver_for_ever()) for each in (events, uses)]
        yield
        for task in (refreshing, *delivering):
            task.cancel()
        await events.deliver(is_last=True)
        await uses.deliver(is_last=True)
        await line.close()
        reader.dispose()

    tokens = _tokens(settings, agreed, callers, reader, line)
    handlers = _handlers(settings, agreed, reader, line, tokens)
    api = direct.connect(agreed, handlers, callers.authorize, settings.max_body_bytes, lifespan)
    pages = create_pages(settings, agreed, inside, callers.believe, failures)
    door = split(Throttle(api, failures), pages, agreed)
    front = Front(Guard(door, settings.hosts, settings.max_body_bytes), agreed, events, _now_us)
    inside.open(front)
    return front


def _handlers(
    settings: Settings, agreed: contract.Contract, reader: Any, line: Line, tokens: Tokens | Elsewhere
) -> SimpleNamespace:
    lookups = Lookups(reader)
    document, cursor_key = agreed.public(settings.root_path), keys.read_cursor_key(settings.var)
    changing = Changing(line=line, root_path=settings.root_path)
    return SimpleNamespace(
        tokens=tokens,
        predictions=Predictions(
            line=line,
            lookups=lookups,
            cursor_key=cursor_key,
            root_path=settings.root_path,
            clock_us=_now_us,
        ),
        records=Records(lookups=lookups),
        replays=_replays(settings, line),
        outcomes=_outcomes(settings, agreed, reader, line),
        erasures=Erasures(changing=changing),
        holds=Holds(changing=changing, listing=lambda: db.holds.listing(reader), clock_us=_now_us),
        clients=_clients(changing, reader),
        security_events=_security_events(reader, cursor_key),
        ledger=Ledger(proofs=Proofs(reader)),
        catalog=Catalog(
            models=agreed.models,
            registered=lambda: db.versions.listing(reader),
            aliases=lambda: db.versions.aliases(reader),
            store=settings.store,
        ),
        aliases=_aliases(settings, agreed, reader, line),
        alerts=Alerts(models=agreed.models, line=line),
        drift=_drift(settings, agreed, reader),
        performance=_performance(settings, agreed, reader),
        usage=_usage(agreed, reader),
        metrics=Metrics(line=line),
        verifications=_verifications(settings, lookups, reader, line),
        health=Health(line=line, models=tuple(agreed.models)),
        document=Document(content=document, tag=conditions.tag(document)),
    )


def _aliases(settings: Settings, agreed: contract.Contract, reader: Any, line: Line) -> Aliases:
    return Aliases(
        models=agreed.models,
        aliases=lambda: db.versions.aliases(reader),
        line=line,
        root_path=settings.root_path,
    )


def _performance(settings: Settings, agreed: contract.Contract, reader: Any) -> Performance:
    return Performance(
        models=agreed.models,
        frames=Frames(models=agreed.models, reader=reader),
        registered=lambda: db.versions.listing(reader),
        store=settings.store,
        size=lambda: db.heads.read(reader).size,
    )


def _replays(settings: Settings, line: Line) -> Replays:
    within_s = settings.replay_deadline_s + settings.answer_deadline_s + GRACE_S
    return Replays(line=line, root_path=settings.root_path, clock_us=_now_us, within_s=within_s)


def _outcomes(settings: Settings, agreed: contract.Contract, reader: Any, line: Line) -> Outcomes:
    return Outcomes(
        line=line,
        past=db.outcomes.Outcomes(reader),
        models=agreed.models,
        report=Schema(
            {"$ref": "#/components/schemas/OutcomeReport"}, agreed.document["components"]["schemas"]
        ),
        root_path=settings.root_path,
        clock_us=_now_us,
        max_body_bytes=settings.max_body_bytes,
    )


def _clients(changing: Changing, reader: Any) -> Clients:
    return Clients(
        changing=changing,
        listing=lambda: db.clients.listing(reader),
        find=lambda client_id: db.clients.read(reader, client_id),
        live_secrets=lambda client_id: db.clients.live_secrets(reader, client_id, _now_us()),
    )


def _verifications(settings: Settings, lookups: Lookups, reader: Any, line: Line) -> Verifications:
    return Verifications(
        line=line,
        lookups=lookups,
        newest=functools.partial(db.verifications.newest, reader),
        root_path=settings.root_path,
    )


def _drift(settings: Settings, agreed: contract.Contract, reader: Any) -> Drift:
    return Drift(
        models=agreed.models,
        frames=Frames(models=agreed.models, reader=reader),
        registered=lambda: db.versions.listing(reader),
        aliases=lambda: db.versions.aliases(reader),
        store=settings.store,
        clock_us=_now_us,
    )


def _usage(agreed: contract.Contract, reader: Any) -> Usage:
    return Usage(models=agreed.models, count=lambda model: db.usage.count(reader, model), most=db.usage.MOST)


def _security_events(reader: Any, cursor_key: bytes) -> SecurityEvents:
    return SecurityEvents(find=functools.partial(db.security_events.search, reader), cursor_key=cursor_key)


def _tokens(
    settings: Settings, agreed: contract.Contract, callers: Callers, reader: Any, line: Line
) -> Tokens | Elsewhere:
    changing = Changing(line=line, root_path=settings.root_path)
    if isinstance(callers.authority, Foreign):
        return Elsewhere(issuer=callers.authority.profile.issuer, callers=callers, changing=changing)
    return Tokens(
        authority=callers.authority,
        callers=callers,
        changing=changing,
        ways=Ways(
            by_secret=lambda client_id, secret: db.clients.authenticate(reader, client_id, secret, _now_us()),
            by_assertion=Assertions(
                find=lambda client_id: db.clients.read(reader, client_id),
                issuer=settings.public_url,
                clock_s=_now_s,
                line=line,
            ),
        ),
        scopes=contract.scopes(agreed.document),
        settings=settings,
        clock_s=_now_s,
    )


def _now_s() -> int:
    return int(time.time())


def _now_us() -> int:
    return time.time_ns() // 1000
