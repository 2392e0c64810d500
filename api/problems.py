"""Every way a request can fail, once: the table of problems, and which exception is which problem.

The only place where an exception becomes a status. A problem's `type` is `/problems/<slug>`, the same in every
deployment, so that a program can compare it; the page behind it is drawn from this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MOST_COUNTED = 1_000  # to find what is wrong takes longer than to find that something is
MAX_BYTES = 4000  # of a whole problem; a stranger may name twenty members of a thousand letters


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the table: the status it always has, its title, and what it means for who reads it."""

    status: int
    title: str
    meaning: str


PROBLEMS: Mapping[str, Kind] = {
    "bad-request": Kind(400, "The request is malformed", "The HTTP request itself cannot be read. Send it again, well-formed."),
    "malformed-json": Kind(400, "The body is not strict JSON", "The body is not I-JSON (RFC 7493): UTF-8 without BOM, unique names, finite numbers, no unpaired surrogates or U+0000, at most 32 levels. Nothing was recorded."),
    "validation": Kind(400, "The request does not match the contract", "`errors` names every culprit, in the body by JSON Pointer, else by parameter. Nothing was recorded."),
    "unauthorized": Kind(401, "A valid access token is needed", "Get a token from /oauth/token and send it as `Authorization: Bearer …`. Tokens expire."),
    "forbidden": Kind(403, "The token lacks a scope", "The detail names the scope that is missing. Ask for a token with it; if it is refused, ask the operator."),
    "not-found": Kind(404, "Not found", "There is no such thing, or it belongs to another client. Both answer the same."),
    "unknown-cursor": Kind(404, "No such page", "A cursor only works with the conditions of the search that gave it out, by the same client. Start again without it."),
    "method-not-allowed": Kind(405, "Method not allowed", "The header Allow lists what this address can do."),
    "not-acceptable": Kind(406, "Not acceptable", "The header Accept excludes every media type this can answer. The detail lists them."),
    "request-timeout": Kind(408, "The request did not arrive in time", "Send all headers within ten seconds, and then the whole body within ten."),
    "model-refused": Kind(409, "The version cannot be served", "The version is registered but was refused when it was loaded; the operator's log says why. Ask another version."),
    "in-flight": Kind(409, "The first request with this key is not answered yet", "A request with the same Idempotency-Key is being worked on. Ask again after Retry-After seconds, with the same key: the answer will be that of the first."),
    "moved": Kind(409, "It changed meanwhile", "Between looking and writing somebody else changed the same thing. Nothing was changed; ask again."),
    "held": Kind(409, "A legal hold forbids it", "Everything that was asked to be erased is under a legal hold; the detail names the holds. Nothing was erased. Lift them, or wait until they end."),
    "not-erasable": Kind(409, "It must not be erased", "What was asked to be erased has to stay: it is the ledger's own memory, or younger than the law lets logs be erased without more ado. Nothing was erased; the detail says what can be done."),
    "erased": Kind(410, "It was erased", "What was asked for is gone, lawfully and on record: `erased` says when, by whom, on what ground, and which record says so. A receipt that was kept stays valid."),
    "libraries-differ": Kind(409, "Other libraries run here", "A replay needs the libraries that the record names; the detail lists each with the version then and now. Install those, or keep a machine that has them."),
    "artefact-refused": Kind(409, "The recorded artefact cannot be loaded", "A replay runs the artefact whose digest is on record, and no other. The detail names that digest and what was found in its place. Restore the file."),
    "not-replayable": Kind(409, "The record cannot be replayed", "Only a request that reached a model can be answered again."),
    "record-changed": Kind(409, "The record is not what was recorded", "What is stored under this id is not what its leaf commits to, so nothing can be said about it. The operator should run verify."),
    "precondition-failed": Kind(412, "It was changed meanwhile", "What is there is not what If-Match or If-None-Match says. Read it again, decide again, and send its new ETag."),
    "precondition-required": Kind(428, "Say what you expect to be there", "Send If-Match with the ETag you read, or If-None-Match: * where nothing should be yet, so that nobody's change is overwritten unseen."),
    "uri-too-long": Kind(414, "The address is too long", "Shorten the query, or search in steps."),
    "expectation-failed": Kind(417, "The expectation cannot be met", "Leave the header Expect away, or send 100-continue."),
    "headers-too-large": Kind(431, "The headers are too large", "A token and a handful of headers fit."),
    "too-many-connections": Kind(429, "Too many connections", "Answered by the proxy in front: too many connections from one address. Keep connections open and use them again."),
    "quota-exceeded": Kind(429, "Too much in a minute", "`violated-policies` names the limit, RateLimit-Policy says how much of it is taken in how many seconds, RateLimit what is left. Nothing was recorded. Ask again after Retry-After seconds."),
    "length-required": Kind(411, "Length required", "Send the body with Content-Length, not in chunks."),
    "too-large": Kind(413, "The body is too large", "The detail says how much is read. Split the request."),
    "unsupported-media-type": Kind(415, "Unsupported media type", "The header Accept says what can be sent, in UTF-8 and without content coding."),
    "key-reused": Kind(422, "The key belongs to another request", "The Idempotency-Key was sent before, by the same client to the same address, with another body. A new request needs a new key. Nothing was recorded."),
    "impossible-outcome": Kind(422, "This cannot have happened", "The request matches the contract, but the model could not have answered this, or it was seen before the prediction was made, or in the future. `errors` says which. Nothing was recorded."),
    "invalid-features": Kind(422, "The model cannot take these values", "The request matches the contract, but this version cannot take it. `errors` names every culprit. The request is on record."),
    "internal": Kind(500, "The service failed", "A fault of ours; it was logged with the request's id. Nothing was given away that is not on record."),
    "prediction-failed": Kind(500, "The model failed", "The model raised an error or gave no finite answer. The request is on record, under the id in `record`."),
    "not-implemented": Kind(501, "The method is not known", "Methods are written in capitals; the header Allow of a 405 lists those of an address."),
    "audit-unavailable": Kind(503, "The answer cannot be recorded", "No prediction is given that cannot be recorded. Ask again after Retry-After seconds."),
    "engine-unavailable": Kind(503, "The engine does not answer", "Predictions pause; reading goes on. Ask again after Retry-After seconds. If `record` is given, that id may be on record: look it up."),
    "issuer-unavailable": Kind(503, "The issuer of tokens does not answer", "This service believes tokens of an issuer whose keys it could not fetch yet. Ask again after Retry-After seconds."),
    "overloaded": Kind(503, "Too many requests are waiting", "The queue is full, nothing was recorded. Ask again after Retry-After seconds."),
    "prediction-timeout": Kind(503, "The model did not answer in time", "The request waited too long and was not recorded, unless `record` says otherwise. Ask again after Retry-After seconds."),
    "replay-failed": Kind(503, "The replay broke off", "The process that answered the request again ended before it had. Nothing was recorded. Ask again after Retry-After seconds."),
    "replay-timeout": Kind(503, "The replay took too long", "The model did not answer within ONRECORD_REPLAY_DEADLINE_S, and its process was ended. Nothing was recorded."),
    "unavailable": Kind(503, "The service does not answer", "The proxy in front says so where no door answers, and a page where its form is closed. Ask again after Retry-After seconds."),
    "store-unavailable": Kind(503, "The database does not answer", "Reading pauses. Ask again after Retry-After seconds."),
}  # fmt: skip


def body(slug: str, detail: str, *, errors: Sequence[Mapping[str, str]] | None = None, **extra: Any) -> bytes:
    """Write a problem; as many culprits are listed as fit, 20 at most, `detail` should say how many there are in all."""
    kind = PROBLEMS[slug]
    content: dict[str, Any] = {"type": f"/problems/{slug}", "title": kind.title, "status": kind.status}
    content["detail"] = detail
    content.update({name: value for name, value in extra.items() if value is not None})
    listed = list(errors or ())[:MAX_ERRORS]
    while listed:
        written = orjson.dumps(content | {"errors": listed})
        if len(written) <= MAX_BYTES:
            return written
        listed.pop()
    return orjson.dumps(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A problem before it is written: which one, what was wrong this time, headers and members that belong to it."""

    slug: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """Say the status the table gives this problem."""
        return PROBLEMS[self.slug].status

    def body(self, request_id: str) -> bytes:
        """Write it as `application/problem+json`, with the name under which the log knows the request."""
        return body(self.slug, self.detail, errors=self.errors, **self.more, request_id=request_id)


# Nobody can say whose the request is, so it is counted among those that prove nobody (api/denials.py).
TWO_HEADERS = {"kind": "unauthenticated", "reason": "two Authorization headers"}


class RequestRefused(Exception):
    """A request is wrong in a way the door can tell; carries its fault to the one place that answers."""

    def __init__(
        self, slug: str, detail: str, *, errors: Sequence[Mapping[str, str]] = (), **headers: str
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.fault = Fault(slug=slug, detail=detail, errors=errors, headers=names)
        self.event: dict[str, Any] = {}

    def tell(self, **event: Any) -> Self:
        """Say what a security event of it holds besides what every one does (api/denials.py)."""
        self.event |= event
        return self


def validation(errors: Sequence[Mapping[str, str]], total: int | None = None) -> RequestRefused:
    """Refuse a request that the contract does not describe; `total` counts what is not listed, too."""
    count = total or len(errors)
    said = str(count) if count <= MOST_COUNTED else f"more than {MOST_COUNTED}"
    listed = "" if count <= MAX_ERRORS else f", at most {MAX_ERRORS} are listed"
    return RequestRefused("validation", f"{said} violation{'s' * (count != 1)}{listed}", errors=errors)
