"""How a page asks the API: through the door's own front, inside the process, like a caller from outside.

A page runs on a thread of its own and waits there; the door's event loop never waits for a page, so a door that asks
itself cannot lock itself up. The question passes every check, limit and log line that one from the network passes, and
counts for the address of the person who looks at the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import httpx
import orjson
from flask import current_app, request
from starlette.types import ASGIApp

from api.pages import session

# Longer than any deadline of the API, so that its own refusal arrives first.
WITHIN_S = 640.0
_EXTENSION = "onrecord-inside"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the API answered; `content` is its JSON, or nothing where it answered something else."""

    status: int
    raw: bytes
    headers: Mapping[str, str]
    content: Any = None


class ApiRefused(Exception):
    """The API answered with a problem, or with an error of OAuth; `content` is what it said."""

    def __init__(self, answered: Answered) -> None:
        content = answered.content if isinstance(answered.content, Mapping) else {}
        super().__init__(content.get("detail") or content.get("title") or "")
        self.status, self.content, self.headers = answered.status, content, answered.headers

    @property
    def slug(self) -> str:
        """Name the kind of problem, as its address ends."""
        return str(self.content.get("type", "")).rpartition("/")[2]

    @property
    def errors(self) -> list[Mapping[str, str]]:
        """List what exactly is wrong: pointer and detail."""
        return list(self.content.get("errors", ()))


class Inside:
    """The way from a page's thread to the door's front; `open` it once the loop runs and the front is built."""

    def __init__(self) -> None:
        self._front: ASGIApp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, front: ASGIApp) -> None:
        """Tell where questions go."""
        self._front = front

    def begin(self) -> None:
        """Tell which loop runs; called on it, before the first request."""
        self._loop = asyncio.get_running_loop()

    def ask(self, asked: httpx.Request, client: tuple[str, int] | None, root_path: str) -> Answered:
        """Ask from a thread and wait for the whole answer."""
        return self.wait(self._ask(asked, client, root_path))

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Have something done on the loop, from a thread, and wait for it."""
        if self._loop is None:
            raise RuntimeError("a page asked before the door was open")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    async def _ask(self, asked: httpx.Request, client: tuple[str, int] | None, root_path: str) -> Answered:
        transport = httpx.ASGITransport(cast(Any, self._front), root_path=root_path, client=cast(Any, client))
        answer = await transport.handle_async_request(asked)
        raw = await answer.aread()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Answered(
            status=answer.status_code,
            raw=raw,
            headers=answer.headers,
            content=orjson.loads(raw) if is_json and raw else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to the API; `token` is None for what is public.

    What the pages ask for themselves counts for no visitor's address.
    """

    method: str
    path: str
    token: str | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_of_pages: bool = False


def install(pages: Any, inside: Inside) -> None:
    """Let the pages of an application ask."""
    pages.extensions[_EXTENSION] = inside


def ask(question: Question) -> Answered:
    """Ask as the page's visitor; raises ApiRefused for every status of 400 and above."""
    scope = request.environ["asgi.scope"]
    query = f"?{urlencode(list(_pairs(question.query)))}" if question.query else ""
    headers = {"Accept": "application/json", **question.headers}
    if question.token is not None:
        headers["Authorization"] = f"Bearer {question.token}"
    if question.method != "GET":
        headers["Content-Length"] = str(len(question.body))
    url = f"http://{request.host}{request.script_root}{question.path}{query}"
    asked = httpx.Request(question.method, url, content=question.body or None, headers=headers)
    client = None if question.is_of_pages else tuple(scope["client"] or ("", 0))
    answered = _inside().ask(asked, client, request.script_root)
    if answered.status >= 400:
        raise ApiRefused(answered)
    return answered


def wait(work: Coroutine[Any, Any, Result]) -> Result:
    """Have something done on the door's loop and wait for it."""
    return _inside().wait(work)


def _inside() -> Inside:
    found: Inside = current_app.extensions[_EXTENSION]
    return found


def _pairs(query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        if value is not None:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


def read(path: str, **query: Any) -> Any:
    """Read something of the API with the token of who signed in; raises SignInNeeded, ApiRefused."""
    return ask(Question(method="GET", path=path, query=query, token=session.token())).content


def send(path: str, body: Any, method: str = "POST", **headers: str) -> Answered:
    """Send JSON to the API with the token of who signed in; raises SignInNeeded, ApiRefused."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(
        Question(
            method=method,
            path=path,
            body=orjson.dumps(body),
            token=session.token(),
            headers={"Content-Type": "application/json", **headers},
        )
    )
