"""Conditional requests (RFC 9110, 13): the tag of what is shown, and whether a caller's condition holds for it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

from api.problems import RequestRefused

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_TAG_BYTES = 15


def tag(content: bytes) -> str:
    """Name these exact bytes: a strong entity tag."""
    digest = hashlib.blake2b(content, digest_size=_TAG_BYTES).digest()
    return f'"{base64.urlsafe_b64encode(digest).decode()}"'


def is_known(headers: Mapping[str, str], current: str) -> bool:
    """Say whether If-None-Match names what would be shown, so that it need not be shown again."""
    field = headers.get("if-none-match")
    return field is not None and _names(field, current, is_strong=False)


def check(headers: Mapping[str, str], current: str | None) -> None:
    """Let a change happen only to what its caller has seen; `current` is None where nothing is yet.

    Raises:
        RequestRefused: `precondition-required` without If-Match (or If-None-Match: *), `precondition-failed` where it
            does not hold.
    """
    match, absent = headers.get("if-match"), headers.get("if-none-match", "").strip() == "*"
    if match is None and not absent:
        detail = "send If-Match with the ETag you read, or If-None-Match: * where nothing should be yet"
        raise RequestRefused("precondition-required", detail)
    if match is not None and (current is None or not _names(match, current, is_strong=True)):
        raise RequestRefused(
            "precondition-failed", "what is there has another ETag, or nothing is there; read it again"
        )
    if absent and current is not None:
        raise RequestRefused("precondition-failed", "there is one already; read it, and send If-Match")


def _names(field: str, current: str, *, is_strong: bool) -> bool:
    if field.strip() == "*":
        return True
    return any(opaque == current and not (weak and is_strong) for weak, opaque in _TAG.findall(field))
