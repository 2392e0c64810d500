"""The header Idempotency-Key, as the engine is told of it: with what it is the key of, and a digest of the body."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from api.calls import Call

HEADER = "idempotency-key"


def keyed(call: Call, operation: str) -> dict[str, Any]:
    """Return what a question to the engine has besides, where the caller sent a key; the contract has checked it.

    `"8e03978e-40d5-43dd"` and the same without quotes are one key.
    """
    if HEADER not in call.headers:
        return {}
    key, body = call.headers[HEADER].strip('"'), sha256(call.raw).hexdigest()
    return {"idempotency": {"key": key, "operation": operation, "body": body}}
