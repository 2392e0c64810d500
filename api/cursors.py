"""Where a search goes on: the last place seen, sealed together with the conditions it belongs to.

Sealed, because a cursor that a caller could write would be an unchecked way into the index, and one that could be used
with other conditions would silently skip what lies before it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from dataclasses import astuple

from api.problems import RequestRefused
from db.lookups import Filter, Position
from db.security_events import Wanted

_PLACE = struct.Struct(">QI")
_SEAL_BYTES = 16


def write(key: bytes, wanted: Filter | Wanted, last: Position) -> str:
    """Seal a place; the text is URL-safe and opaque."""
    place = _PLACE.pack(last.idx, last.position)
    return base64.urlsafe_b64encode(place + _seal(key, wanted, place)).rstrip(b"=").decode()


def read(key: bytes, wanted: Filter | Wanted, text: str) -> Position:
    """Open a sealed place.

    Raises:
        RequestRefused: `unknown-cursor`: tampered with, cut, or from a search with other conditions.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raw = b""
    place, seal = raw[: _PLACE.size], raw[_PLACE.size :]
    if len(place) != _PLACE.size or not hmac.compare_digest(seal, _seal(key, wanted, place)):
        detail = "the cursor is not one that this search gave out; start again without it"
        raise RequestRefused("unknown-cursor", detail)
    return Position(*_PLACE.unpack(place))


def _seal(key: bytes, wanted: Filter | Wanted, place: bytes) -> bytes:
    return hmac.digest(key, repr(astuple(wanted)).encode() + place, "sha256")[:_SEAL_BYTES]
