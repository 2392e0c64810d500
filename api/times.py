"""Times on the wire (RFC 3339) and inside (microseconds since 1970, UTC)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
LATEST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def text(at_us: int) -> str:
    """Write a time with all six digits of its microseconds, so that texts sort like times."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_us(text: str) -> int:
    """Read a time that the contract's `date-time` format let through; digits beyond microseconds are cut off."""
    text = text.upper().replace(":60", ":59", 1) if text[17:19] == "60" else text.upper()
    if text.startswith("0000-"):  # legal in RFC 3339, unknown to datetime; nothing was predicted before
        return EARLIEST_US
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def within(at_us: int) -> int:
    """Move a time that no text can show to the nearest that one can."""
    return min(LATEST_US, max(EARLIEST_US, at_us))
