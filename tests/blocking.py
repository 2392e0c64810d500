"""Blocks made at once, of spans that are small enough to be many."""

from __future__ import annotations

from unittest import mock

from db import blocks, packing, spans
from db.engine import open_reader
from db.ledger import Ledger


def make_blocks(ledger: Ledger, url: str, records: int = 64, at_most: int = 1_000) -> int:
    """Make what is missing as the engine does, and say of how many spans that was."""
    made = 0
    reader = open_reader(url)
    try:
        with mock.patch.object(spans, "RECORDS", records):
            while made < at_most and (unmade := blocks.unmade(reader)) is not None:
                packed = packing.said(packing.packed(packing.asked(unmade.records)))
                assert ledger.beside(lambda pen, of=unmade, with_=packed: blocks.put(pen, of, with_))
                made += 1
    finally:
        reader.dispose()
    return made
