"""What a fuzzer cannot know: state, and cryptography. Loaded by schemathesis before it calls anything.

Whether an Idempotency-Key was used before, with another body, is no property of a request; that two numbers are a point
on a curve is nothing a schema can say; and who fuzzes must not disable itself: `ONRECORD_FUZZERS` names their ids,
and last that of a client that is there to be ended in their place.
"""

from __future__ import annotations

import os
import re
import uuid
from typing import Any

import schemathesis
from cryptography.hazmat.primitives.asymmetric import ec

from api.jwks import SigningKey

_KEY = re.compile(r'"?[A-Za-z0-9_-]{16,64}"?')
_JWK = SigningKey.of(ec.generate_private_key(ec.SECP256R1())).verifying.jwk()
_PERFORMANCE = "/v1/models/{model}/performance"
_ENDS = ("/v1/clients/{id}/status", "/v1/clients/{id}/revocation")


_ROWS = {  # what a schema of text cannot say: a line of names, lines of JSON
    "text/csv": "model,reference,value\r\nincome,1001,>50K\r\n",
    "application/x-ndjson": '{"model":"income","reference":"1001","value":">50K"}\n',
}


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Send text as it is."""
    return str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Use every well-formed Idempotency-Key once, real keys, and end nobody's session who fuzzes."""
    if case.media_type in _ROWS and case.meta is not None and case.meta.generation.mode.is_positive:
        case.body = _ROWS[case.media_type]
    headers = case.headers or {}
    if _KEY.fullmatch(str(headers.get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    *fuzzers, instead = os.environ["ONRECORD_FUZZERS"].split()
    if case.operation.path in _ENDS and (case.path_parameters or {}).get("id") in fuzzers:
        case.path_parameters["id"] = instead
    # Which features a model has, its own part of the contract says.
    if case.operation.path == _PERFORMANCE and "by" in (case.query or {}) and _is_positive(case):
        del case.query["by"]
    if _is_positive(case) and isinstance(case.body, dict):
        if case.operation.path == "/v1/clients/{id}/keys":
            case.body = {"keys": [_JWK]}
        elif "jwks" in case.body:
            case.body["jwks"] = {"keys": [_JWK]}


def _is_positive(case: Any) -> bool:
    return case.meta is not None and bool(case.meta.generation.mode.is_positive)
