"""Packing columns in a process that does nothing else: `python -m db.packing`.

Standard input holds the answered requests of one span (`asked`), standard output gets the packed columns (`said`). The
process is given no database, no key and no environment: it only keeps a second of arithmetic away from whoever answers
callers, and every other process comes before it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from db.columns import Answered, Reported, of, pack

NICENESS = 19
_Key = tuple[str, str, str]


def asked(records: Iterable[Answered | Reported]) -> bytes:
    """Write down what is to be packed."""
    return _framed(map(_written, records))


def said(answer: bytes) -> dict[_Key, bytes]:
    """Read what the process has said: packed columns by model, version and name."""
    return {tuple(about): content for about, (content,) in _frames(answer)}


def packed(question: bytes) -> bytes:
    """Answer what `asked` has written."""
    records = (_read(about, contents) for about, contents in _frames(question))
    return _framed(
        ([*key, name], (pack(content),))
        for key, columns in of(records).items()
        for name, content in columns.items()
    )


def _written(record: Answered | Reported) -> tuple[Sequence[object], Sequence[bytes]]:
    about = [record.idx, record.observed_at_us, record.model, record.version]
    if isinstance(record, Answered):
        return about, (record.input, record.output)
    return [*about, record.of_idx, record.position, record.value], ()


def _read(about: Sequence[Any], contents: Sequence[bytes]) -> Answered | Reported:
    of, more = dict(zip(("idx", "observed_at_us", "model", "version"), about, strict=False)), about[4:]
    if contents:
        return Answered(**of, input=contents[0], output=contents[1])
    return Reported(**of, of_idx=more[0], position=more[1], value=more[2])


def _framed(items: Iterable[tuple[Sequence[object], Sequence[bytes]]]) -> bytes:
    """Write each item as a line of JSON that ends with the lengths of the bytes behind it."""
    parts: list[bytes] = []
    for about, contents in items:
        parts += (orjson.dumps([about, list(map(len, contents))]), b"\n", *contents)
    return b"".join(parts)


def _frames(data: bytes) -> Iterator[tuple[list[Any], list[bytes]]]:
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        about, lengths = orjson.loads(data[at:end])
        at = end + 1
        contents = []
        for length in lengths:
            contents.append(data[at : at + length])
            at += length
        yield about, contents


def main() -> None:
    """Be the process."""
    os.nice(NICENESS)
    sys.stdout.buffer.write(packed(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
