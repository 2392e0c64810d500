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

from db.columns import Answered, of, pack

NICENESS = 19
_Key = tuple[str, str, str]


def asked(records: Iterable[Answered]) -> bytes:
    """Write down what is to be packed."""
    return _framed(
        ([each.idx, each.observed_at_us, each.model, each.version], (each.input, each.output))
        for each in records
    )


def said(answer: bytes) -> dict[_Key, bytes]:
    """Read what the process has said: packed columns by model, version and name."""
    return {tuple(about): content for about, (content,) in _frames(answer)}


def packed(question: bytes) -> bytes:
    """Answer what `asked` has written."""
    records = (
        Answered(idx=idx, observed_at_us=at_us, model=model, version=version, input=given, output=gone)
        for (idx, at_us, model, version), (given, gone) in _frames(question)
    )
    return _framed(
        ([*key, name], (pack(content),))
        for key, columns in of(records).items()
        for name, content in columns.items()
    )


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
