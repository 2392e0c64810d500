"""The frames between doors and engine: one layout for both directions, knowing nothing of what they say.

A frame is `length, number, head_length` (little-endian; `length` counts everything after itself), a JSON head
and a body of raw bytes. `number` is chosen by the asking side and comes back with the answer, so answers may
overtake each other. Bodies travel as the exact bytes of HTTP: they are what goes on record.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import orjson

_START = struct.Struct("<IIH")
_LENGTH = 4
_AFTER_LENGTH = _START.size - _LENGTH
MAX_NUMBER = 2**32 - 1
# A head holds ids and names only. 32 KiB leaves room for the arguments of a change.
HEAD_BYTES = 32 << 10
READ_BYTES = 256 << 10
# Answers outgrow their requests: an instance of 12 bytes is answered with 130, with warnings more.
ANSWER_BYTES = 64 << 20
HANDED_BACK = "handed_back"  # in the head of an answer: ask again once the body was read


class FrameRefused(Exception):
    """The other side sent what is no frame, or one above the agreed size; the connection is lost."""


class Frame(NamedTuple):
    """One message; `body` is a copy that outlives the buffer it came in."""

    number: int
    head: dict[str, Any]
    body: bytes


def encode(number: int, head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Lay out one frame, ready to be written or joined with others in one write."""
    head_bytes = orjson.dumps(head)
    if len(head_bytes) > HEAD_BYTES:
        raise FrameRefused(f"a head of {len(head_bytes)} bytes; at most {HEAD_BYTES} are agreed")
    start = _START.pack(_AFTER_LENGTH + len(head_bytes) + len(body), number, len(head_bytes))
    return b"".join((start, head_bytes, body))


class Splitter:
    """Cuts a byte stream into frames; keeps what is incomplete until more comes."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, body_limit: int) -> None:
        self._rest = bytearray()
        self._limit = body_limit + HEAD_BYTES + _AFTER_LENGTH

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they come, give back every frame that is now complete.

        Raises:
            FrameRefused: as soon as a length is read that is above the limit, before its bytes are kept.
        """
        rest = self._rest
        rest += data
        found: list[Frame] = []
        at = 0
        while len(rest) - at >= _LENGTH:
            length = int.from_bytes(rest[at : at + _LENGTH], "little")
            if not _AFTER_LENGTH <= length <= self._limit:
                raise FrameRefused(
                    f"a frame of {length} bytes; from {_AFTER_LENGTH} to {self._limit} are agreed"
                )
            end = at + _LENGTH + length
            if len(rest) < end:
                break
            found.append(_frame(rest, at, end))
            at = end
        del rest[:at]
        return found


def _frame(buffer: bytearray, at: int, end: int) -> Frame:
    _, number, head_length = _START.unpack_from(buffer, at)
    body_at = at + _START.size + head_length
    if body_at > end:
        raise FrameRefused("a head longer than its frame")
    try:
        head = orjson.loads(buffer[at + _START.size : body_at])
    except orjson.JSONDecodeError as refused:
        raise FrameRefused("a head that is not JSON") from refused
    if not isinstance(head, dict):
        raise FrameRefused("a head that is not an object")
    return Frame(number, head, bytes(buffer[body_at:end]))


async def groups(reader: asyncio.StreamReader, body_limit: int) -> AsyncIterator[list[Frame]]:
    """Yield the frames of each read together, so that what came together can be worked on together.

    Ends when the other side closes; a frame cut off by that is dropped.

    Raises:
        FrameRefused: see `Splitter.feed`.
    """
    splitter = Splitter(body_limit)
    while data := await reader.read(READ_BYTES):
        if frames := splitter.feed(data):
            yield frames
