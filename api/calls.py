"""What a handler is given and what it gives back: no framework's request or response, so a test can call it plainly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.large import Unread

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who asks, as a verified access token says it."""

    client_id: str
    scopes: frozenset[str]
    jti: str
    issued_at_s: int = 0
    expires_at_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that passed the contract: parameters typed, body parsed, `raw` its exact bytes.

    `media` is the media type of the body; only JSON comes parsed, and of what is `unread` only what stands beside the
    instances. `accept` is the one that was negotiated.
    `claims` is None on public operations only.
    """

    claims: Claims | None = None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes = b""
    media: str = JSON
    accept: str = JSON
    unread: Unread | None = None

    @property
    def caller(self) -> Claims:
        """Name the caller of an operation that is not public."""
        if self.claims is None:
            raise RuntimeError("a public operation asked who is calling")
        return self.claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back: bytes as they are, an iterator of bytes as a stream, anything else as JSON."""

    content: bytes | Iterator[bytes] | object
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    event: Mapping[str, Any] = field(default_factory=dict)  # of a security event: api/denials.py
