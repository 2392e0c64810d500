"""Our shortcuts around Connexion judge requests as Connexion's own stack does, or differ for a reason given here."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import orjson
from connexion import AsyncApp
from connexion.resolver import Resolution, Resolver

from api import contract, direct
from api.calls import Answer, Call, Claims
from api.events import Events
from api.front import Front
from api.problems import RequestRefused

AGREED = contract.read(Path(__file__).parent.parent / "openapi", 100)
HOUSING = "/v1/models/housing/predictions"
SCOPES = {"all": frozenset(contract.scopes(AGREED.document)), "few": frozenset({"openid"})}
GOOD = b'{"instances":[{"age":50}]}'

BODIES = [
    *(GOOD, b'{"instances":[{"age":50},{"age":75}]}', b'{"instances":[{"age":50}],"version":"1"}'),
    *(b"{}", b"[]", b"null", b"1", b'"age"', b"{", b'{"instances":', b"not json"),
    *(b'{"instances":[]}', b'{"instances":{}}', b'{"instances":null}', b'{"instances":[1]}'),
    *(b'{"instances":[{}]}', b'{"instances":[{"age":"x"}]}', b'{"instances":[{"age":-1}]}'),
    *(b'{"instances":[{"age":1e9}]}', b'{"instances":[{"age":50,"other":1}]}'),
    *(b'{"instances":[{"age":50}],"other":1}', b'{"instances":[{"age":50}],"version":1}'),
]
QUERIES = [
    *("", "limit=1", "limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=100000", "has_outcome=true"),
    *("has_outcome=maybe", "model=housing", "label=a", "min_score=0.5", "min_score=x", "from=yesterday"),
]
ASKED = [
    *(("POST", HOUSING, "all", body, "application/json") for body in BODIES),
    *(("GET", f"/v1/predictions?{query}", "all", b"", "") for query in QUERIES),
    *(
        (method, path, token, b"", "")
        for (method, path), token in itertools.product(
            [("GET", "/v1/models"), ("GET", "/v1/predictions"), ("GET", "/v1/models/housing/versions")],
            ["all", "few", "wrong", ""],
        )
    ),
    *(("GET", path, "all", b"", "") for path in ("/v1/nothing", "/v2/nothing", "/v1", "/nothing/at/all")),
    *((method, "/v1/models", "all", b"", "") for method in ("DELETE", "PATCH", "PUT")),
    *(("POST", HOUSING, "all", GOOD, media) for media in ("text/plain", "application/xml")),
    *(("POST", HOUSING, token, GOOD, "application/json") for token in ("few", "wrong", "")),
]
# Where the stock stack is not followed, and why.
DEVIATIONS: dict[tuple[str, str, str, bytes, str], str] = {
    ("POST", HOUSING, "all", b'{"instances":[{"age":NaN}]}', "application/json"): "it takes NaN for a number",
    ("POST", HOUSING, "all", b'{"instances":[],"instances":[{"age":5}]}', "application/json"): (
        "of two equal names it keeps the last and says nothing"
    ),
    ("POST", HOUSING, "all", b'{"instances":"\xff"}', "application/json"): "it answers 500 to bad UTF-8",
    (
        "POST",
        HOUSING,
        "all",
        b"{}",
        "Application/JSON",
    ): "it skips the schema where the media type is spelt so",
    ("GET", "/v1/models/", "all", b"", ""): "it redirects to an address made of the Host header",
}


def known(token: str) -> dict[str, Any] | None:
    """Tell what a token is good for, as Connexion asks."""
    return {"sub": "somebody", "scope": sorted(SCOPES[token])} if token in SCOPES else None


def _authorize(headers: Iterable[tuple[bytes, bytes]], needed: frozenset[str]) -> Claims:
    token = dict(headers).get(b"authorization", b"").removeprefix(b"Bearer ").decode()
    if token not in SCOPES:
        raise RequestRefused("unauthorized", "no token")
    if not needed <= SCOPES[token]:
        raise RequestRefused("forbidden", "not with this token")
    return Claims(client_id="somebody", scopes=SCOPES[token], jti="1")


@contextlib.asynccontextmanager
async def _no_lifespan(_: Any) -> AsyncIterator[None]:
    yield


class _Everything:
    """Handlers that answer 200 to whatever reaches them, by any name."""

    def __getattr__(self, _: str) -> Any:
        return _Everything()

    def __call__(self, *_: Call) -> Answer:
        return Answer(content={})


def _nothing(**_: Any) -> tuple[dict[str, Any], int, dict[str, str]]:
    return {}, 200, {"Content-Type": "application/json"}


class _Stock(Resolver):  # type: ignore[misc]  # connexion ships no types
    def resolve(self, operation: Any) -> Resolution:
        return Resolution(_nothing, operation._operation["operationId"])


def _stock() -> AsyncApp:
    document = orjson.loads(orjson.dumps(AGREED.document))
    for scheme in document["components"]["securitySchemes"].values():
        if scheme["type"] == "oauth2":
            scheme["x-tokenInfoFunc"] = f"{__name__}.known"
    app = AsyncApp("stock", resolver=_Stock())
    app.add_api(document, base_path="", strict_validation=True)
    return app


def _ask_all(app: Any) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await _sent(client, *each) for each in [*ASKED, *DEVIATIONS]]

    return asyncio.run(ask())


async def _sent(
    client: httpx.AsyncClient, method: str, path: str, token: str, body: bytes, media: str
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await client.request(
        method, path, content=body or None, headers=headers | ({"Content-Type": media} if media else {})
    )


def test_the_short_stack_judges_as_the_stock_one() -> None:
    """The same requests get the same status from both, and a problem from both or from neither."""
    short = direct.connect(AGREED, _Everything(), _authorize, 1000, _no_lifespan)
    differing = {}
    ours, theirs = _ask_all(Front(short, AGREED, Mock(Events), lambda: 0)), _ask_all(_stock())
    for asked, one, other in zip([*ASKED, *DEVIATIONS], ours, theirs, strict=True):
        if (one.status_code, _kind(one)) != (other.status_code, _kind(other)):
            differing[asked] = (one.status_code, other.status_code)

    assert len(ASKED) >= 40
    assert differing.keys() == DEVIATIONS.keys(), differing


def _kind(answer: httpx.Response) -> str:
    return answer.headers.get("content-type", "").partition(";")[0]
