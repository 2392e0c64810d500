"""Connexion, and every shortcut around it, in one file: the operations of the contract, ready at start-up.

Connexion finds the operation, its scopes and its handler. What it would do anew for every request (inspect signatures,
build validators, parse the body a second time) is replaced through the hooks it offers: `middlewares`, `security_map`,
a `Resolver`. The only private touch is `_middleware_app.api_cls`, the class that makes operations callable.
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
) -> AsyncApp:
    """Bind the contract to its handlers: `operationId: catalog.read` names `handlers.catalog.read`."""
    declared = Declared.by(contract, max_body_bytes)
    app = AsyncApp(
        "api",
        lifespan=lifespan,
        middlewares=[
            _Routing,
            SecurityMiddleware,
            functools.partial(_Checking, declared=declared),
            LifespanMiddleware,
        ],
        resolver=_Handlers(handlers),
        security_map={"oauth2": lambda: _Bearer(authorize)},
    )
    app._middleware_app.api_cls = functools.partial(_Calling, declared=declared)
    app._middleware_app.router.redirect_slashes = False
    # A copy: connexion resolves every reference inside the dict it is given.
    app.add_api(orjson.loads(orjson.dumps(contract.document)), base_path="")
    return app


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
        name = spec.get("x-handler", spec["operationId"])
        try:
            handler = operator.attrgetter(name)(self._handlers)
        except AttributeError as missing:
            raise ResolverError(f"{spec['operationId']}: no handler is called {name!r}") from missing
        if "x-model" in spec:
            handler = functools.partial(handler, spec["x-model"])
        return Resolution(handler, spec["operationId"])


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
