"""Connexion, and every shortcut around it, in one file: the operations of the contract, ready at start-up.

Connexion finds the operation, its scopes and its handler. What it would do anew for every request (inspect signatures,
build validators, parse the body a second time) is replaced through the hooks it offers: `middlewares`, `security_map`,
a `Resolver`. The only private touch is `_middleware_app.api_cls`, the class that makes operations callable.
Addresses without a variable part need no search: a table made of the contract at start-up leads to the same checks and
the same handler. Everything else (other methods, other addresses) is Connexion's to find or to refuse.
Order of checks: 404, 405, 401, 403, parameters 400, 411, 413, 415, 408, JSON 400, schema 400, 406, handler.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
from connexion import AsyncApp
from connexion.apps.asynchronous import AsyncApi
from connexion.exceptions import ResolverError
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.request_validation import RequestValidationAPI, RequestValidationMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.resolver import Resolution, Resolver
from starlette.types import ASGIApp, Receive, Scope, Send

from api import denials
from api.calls import Claims
from api.contract import Contract
from api.operations import Called, Checked, Declared

Authorize = Callable[[Iterable[tuple[bytes, bytes]], frozenset[str]], Claims]


def connect(
    contract: Contract,
    handlers: object,
    authorize: Authorize,
    max_body_bytes: int,
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]],
) -> ASGIApp:
    """Bind the contract to its handlers: `operationId: catalog.read` names `handlers.catalog.read`."""
    declared = Declared.by(contract, max_body_bytes)
    resolver = _Handlers(handlers)
    app = AsyncApp(
        "api",
        lifespan=lifespan,
        middlewares=[
            _Routing,
            SecurityMiddleware,
            functools.partial(_Checking, declared=declared),
            LifespanMiddleware,
        ],
        resolver=resolver,
        security_map={"oauth2": lambda: _Bearer(authorize)},
    )
    app._middleware_app.api_cls = functools.partial(_Calling, declared=declared)
    app._middleware_app.router.redirect_slashes = False
    # A copy: connexion resolves every reference inside the dict it is given.
    app.add_api(orjson.loads(orjson.dumps(contract.document)), base_path="")
    table = {
        (method.upper(), path): _Known(
            operation["operationId"], _scopes(operation), authorize, resolver.handler(operation), declared
        )
        for path, method, operation in contract.operations()
        if "{" not in path
    }
    return _Short(app, table)


def _scopes(operation: Mapping[str, Any]) -> frozenset[str] | None:
    """Name the scopes of an operation, None where it is public; api/contract.py allows no other form."""
    return frozenset(operation["security"][0]["token"]) if operation["security"] else None


class _Known:
    """One operation with an address of its own: token, checks and handler in a row, as Connexion would call them."""

    __slots__ = ("_authorize", "_checked", "_routed", "_scopes")

    def __init__(
        self,
        operation_id: str,
        scopes: frozenset[str] | None,
        authorize: Authorize,
        handler: Callable[..., Any],
        declared: Declared,
    ) -> None:
        self._scopes, self._authorize = scopes, authorize
        self._routed = {"operation_id": operation_id}
        called = Called(handler, declared.operations[operation_id])
        self._checked = Checked(called, operation_id, declared)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extensions = scope["extensions"]
        extensions[denials.ROUTING] = self._routed
        if self._scopes is not None:
            extensions[denials.CONTEXT] = {
                "token_info": {"claims": self._authorize(scope["headers"], self._scopes)}
            }
        await self._checked(scope, receive, send)


class _Short:
    """Leads a request that the table knows to its operation, every other one to Connexion."""

    def __init__(self, app: ASGIApp, table: Mapping[tuple[str, str], _Known]) -> None:
        self._app, self._table = app, table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            found = self._table.get((scope["method"], path))
        await (found or self._app)(scope, receive, send)


class _Routing(RoutingMiddleware):  # type: ignore[misc]  # connexion ships no types
    """Finds the operation; an address with a slash too many is 404, not a redirect built from the Host header."""

    def add_api(self, *args: Any, **kwargs: Any) -> None:
        super().add_api(*args, **kwargs)
        self.router.redirect_slashes = False
        for mount in self.router.routes:
            mount.app.redirect_slashes = False


class _Handlers(Resolver):  # type: ignore[misc]  # connexion ships no types
    """Looks handlers up on an object with its dependencies injected, instead of importing modules by name."""

    def __init__(self, handlers: object) -> None:
        super().__init__()
        self._handlers = handlers

    def resolve(self, operation: Any) -> Resolution:
        spec = operation._operation
        return Resolution(self.handler(spec), spec["operationId"])

    def handler(self, spec: Mapping[str, Any]) -> Callable[..., Any]:
        """Find what an operation of the contract calls; raises ResolverError."""
        name = spec.get("x-handler", spec["operationId"])
        try:
            handler: Callable[..., Any] = operator.attrgetter(name)(self._handlers)
        except AttributeError as missing:
            raise ResolverError(f"{spec['operationId']}: no handler is called {name!r}") from missing
        if "x-model" in spec:
            handler = functools.partial(handler, spec["x-model"])
        return handler


class _Bearer:
    """Enforces the scopes of the contract; connexion's own bearer handler would drop them."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    def get_fn(self, _scheme: Mapping[str, Any], scopes: list[str]) -> Callable[[Any], dict[str, Any]]:
        needed = frozenset(scopes)

        def verify(request: Any) -> dict[str, Any]:
            claims = self._authorize(request.scope["headers"], needed)
            return {"sub": claims.client_id, "claims": claims}

        return verify


class _CheckingApi(RequestValidationAPI):  # type: ignore[misc]  # connexion ships no types
    def __init__(self, *args: Any, declared: Declared, **kwargs: Any) -> None:
        self._declared = declared
        super().__init__(*args, **kwargs)

    def make_operation(self, operation: Any) -> Checked:
        # Connexion's own copy has its references resolved, which breaks where a schema refers to itself.
        return Checked(self.next_app, operation.operation_id, self._declared)


class _Checking(RequestValidationMiddleware):  # type: ignore[misc]  # connexion ships no types
    """Replaces connexion's validation, which skips the schema of `Application/JSON` and answers 500 to bad UTF-8."""

    def __init__(self, app: Any, *, declared: Declared) -> None:
        super().__init__(app)
        self.api_cls = functools.partial(_CheckingApi, declared=declared)


class _Calling(AsyncApi):  # type: ignore[misc]  # connexion ships no types
    def __init__(self, *args: Any, declared: Declared, **kwargs: Any) -> None:
        self._declared = declared
        super().__init__(*args, **kwargs)

    def make_operation(self, operation: Any) -> Called:
        return Called(operation.function, self._declared.operations[operation.operation_id])
