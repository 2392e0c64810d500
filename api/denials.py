"""What a refused request is as a security event: who, what and why, and never a token, a secret or a body.

Nobody is named who has not proved to be it: a stranger is a reason, an address, and the first characters of the key its
token claims. Called after the answer has left, for requests that were refused only, and for tokens that were given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from starlette.types import Scope

from api.calls import Claims
from api.problems import Fault, RequestRefused
from db.security_events import SecurityEvent

TOLD = "onrecord_told"  # where a handler's answer and its call wait for `answered`
KID_CHARACTERS = 64
TARGET_CHARACTERS = 200
_OAUTH = frozenset({"tokens.issue", "tokens.revoke", "tokens.introspect"})
ROUTING, CONTEXT = "connexion_routing", "connexion_context"  # where connexion leaves what it found


def refused(scope: Scope, error: Exception, fault: Fault, at_us: int, request: str) -> SecurityEvent | None:
    """Say what an error is as an event; None where nobody is behind it, or it is a fault of ours."""
    said = dict(error.event) if isinstance(error, RequestRefused) else {}
    claims = _claims(scope)
    operation = scope["extensions"].get(ROUTING, {}).get("operation_id")
    if "kind" not in said:
        kind = _kind(fault, operation, is_proven=claims is not None or "client_id" in said)
        if kind is None:
            return None
        said["kind"] = kind
    if claims is not None:
        said = _caller(claims) | said
    if fault.slug == "forbidden":
        said["needed"] = fault.headers.get("WWW-Authenticate", "").partition('scope="')[2].rstrip('"')
    if fault.slug != "validation":  # what breaks the contract may hold anything
        said.setdefault("target", _target(scope))
    return _event(scope, {"reason": fault.slug, "status": fault.status, **said}, at_us, request)


def answered(scope: Scope, at_us: int, request: str) -> SecurityEvent | None:
    """Say what a handler's own answer is as an event; None where it is on record, or a fault of ours."""
    call, answer = scope["extensions"][TOLD]
    if answer.event:
        return _event(scope, {"status": answer.status, **answer.event}, at_us, request)
    if call.claims is None or answer.status >= 500:
        return None
    problem = orjson.loads(answer.content) if isinstance(answer.content, bytes) else {}
    if "record" in problem:
        return None
    said = _caller(call.claims) | of_body(call.raw) | {"target": _target(scope), "status": answer.status}
    reason = str(problem.get("type", "")).rpartition("/")[2]
    return _event(scope, {"kind": "refused", "reason": reason, **said}, at_us, request)


def of_body(raw: bytes) -> dict[str, Any]:
    """Tell of a body that was read how long it was and how to recognise it; of none, nothing."""
    return {"body_bytes": len(raw), "body_sha256": sha256(raw).hexdigest()} if raw else {}


def token_given(client_id: str, scope: str, jti: str) -> dict[str, Any]:
    """Say for an answer of the token endpoint what it gave to whom."""
    return {"kind": "token-issued", "reason": "issued", "client_id": client_id, "held": scope, "jti": jti}


def token_refused(error: str, client_id: str | None) -> dict[str, Any]:
    """Say for an answer of an `/oauth/` address what it refused; whom, only where the secret was right."""
    return {"kind": "token-refused", "reason": error, "client_id": client_id}


def network(address: str | None) -> str | None:
    """Name the network that an address stands for when strangers are counted: a /24, or a /56."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    found = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 56), strict=False))


def _kind(fault: Fault, operation: str | None, *, is_proven: bool) -> str | None:
    # Over the limit of failures, 429 stands where 401 stood.
    if fault.slug == "unauthorized" or "failures" in fault.more.get("violated-policies", ()):
        return "unauthenticated"
    if fault.status >= 500 or fault.slug == "invalid-features":
        return None
    if fault.slug == "forbidden":
        return "forbidden"
    if operation in _OAUTH:
        return "token-refused"
    return "refused" if is_proven else None


def _event(scope: Scope, said: Mapping[str, Any], at_us: int, request: str) -> SecurityEvent:
    client = scope.get("client")
    content = {"operation": scope["extensions"].get(ROUTING, {}).get("operation_id"), **said}
    if (kid := content.get("claimed_kid")) is not None:
        content["claimed_kid"] = kid.encode("unicode_escape", "replace").decode()[:KID_CHARACTERS]
    address = client[0] if client and network(client[0]) else None
    return SecurityEvent(at_us=at_us, address=address, request=request, **content)


def _claims(scope: Scope) -> Claims | None:
    found: Claims | None = scope["extensions"].get(CONTEXT, {}).get("token_info", {}).get("claims")
    return found


def _caller(claims: Claims) -> dict[str, Any]:
    return {"client_id": claims.client_id, "jti": claims.jti, "held": " ".join(sorted(claims.scopes))}


def _target(scope: Scope) -> str:
    return str(scope["raw_path"][:TARGET_CHARACTERS], "latin-1")
