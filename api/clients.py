"""Clients over HTTP: let in, shown, given another secret, turned away.

A token can do what its scopes say and nothing else: whoever may write clients does not get more by it than it has. It
makes no client that may do what its own token may not, and takes no secret of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import anyio.to_thread
import orjson

from api import conditions, times
from api.calls import Answer, Call, Claims
from api.changing import Changing
from api.credentials import NO_STORE
from api.problems import RequestRefused
from db.clients import Client, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Reads clients from the database and has the engine change them."""

    changing: Changing
    listing: Callable[[], list[Client]]
    find: Callable[[str], Client | None]
    live_secrets: Callable[[str], list[Secret]]

    def search(self, _call: Call) -> Answer:
        """List every client, disabled ones too."""
        return Answer(content={"clients": [_shown(each) for each in self.listing()]})

    def read(self, call: Call) -> Answer:
        """Show one client, and since when and until when its secrets work."""
        client = self._find(call)
        secrets = [_shown_secret(each) for each in self.live_secrets(client.client_id)]
        return Answer(content=_shown(client) | {"secrets": secrets})

    async def create(self, call: Call) -> Answer:
        """Let a client in, for no more than the caller may do itself; its secret is in this answer only."""
        _check_reach(call.caller, frozenset(call.body["scope"].split()))
        return _secretive(await self.changing.ask("client.add", call.body, call.caller))

    async def rotate(self, call: Call) -> Answer:
        """Give a client a second secret, which is in this answer only."""
        client = await anyio.to_thread.run_sync(self._find, call)
        _check_reach(call.caller, client.scope)
        args = {**call.body, "client_id": client.client_id}
        return _secretive(await self.changing.ask("client.rotate", args, call.caller))

    def read_keys(self, call: Call) -> Answer:
        """Show the public keys that a client is known by."""
        return Answer(content=_keys(self._find(call)))

    async def put_keys(self, call: Call) -> Answer:
        """Let a client be known by other public keys, if it still has those that the caller has seen."""
        client = await anyio.to_thread.run_sync(self._find, call)
        _check_reach(call.caller, client.scope)
        conditions.check(call.headers, conditions.tag(orjson.dumps(_keys(client))))
        args = {"client_id": client.client_id, "jwks": call.body, "seen": client.jwks}
        return await self.changing.ask("client.keys", args, call.caller)

    async def disable(self, call: Call) -> Answer:
        """Turn a client away."""
        return await self._change("client.disable", call)

    async def revoke(self, call: Call) -> Answer:
        """Void every token the client has got so far."""
        return await self._change("client.revoke", call)

    async def _change(self, name: str, call: Call) -> Answer:
        client = await anyio.to_thread.run_sync(self._find, call)
        return await self.changing.ask(name, {"client_id": client.client_id}, call.caller)

    def _find(self, call: Call) -> Client:
        client = self.find(call.path["id"])
        if client is None:
            raise RequestRefused("not-found", "there is no such client")
        return client


def _check_reach(caller: Claims, scope: frozenset[str]) -> None:
    if beyond := scope - caller.scopes:
        names = " ".join(sorted(beyond))
        header = f'Bearer realm="onrecord", error="insufficient_scope", scope="{names}"'
        detail = f"your token gives no access to a client that may do what it may not: {names}"
        raise RequestRefused("forbidden", detail, WWW_Authenticate=header)


def _secretive(answer: Answer) -> Answer:
    return replace(answer, headers={**answer.headers, **NO_STORE})


def _keys(client: Client) -> Any:
    return {"keys": []} if client.jwks is None else orjson.loads(client.jwks)


def _shown(client: Client) -> dict[str, Any]:
    optional = {
        "disabled_at": client.disabled_at_us,
        "tokens_not_before": client.not_before_us,
        "last_used_at": client.last_used_at_us,
    }
    return {
        "client_id": client.client_id,
        "name": client.name,
        "scope": " ".join(sorted(client.scope)),
        "status": "active" if client.disabled_at_us is None else "disabled",
        "created_at": times.text(client.created_at_us),
    } | {name: times.text(at_us) for name, at_us in optional.items() if at_us is not None}


def _shown_secret(secret: Secret) -> dict[str, str]:
    until = secret.expires_at_us
    shown = {"created_at": times.text(secret.created_at_us)}
    return shown if until is None else shown | {"expires_at": times.text(until)}
