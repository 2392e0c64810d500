"""The rows that everybody is asked about: persons of the census, from the golden inputs of the shipped model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

Row = Mapping[str, Any]
STORE = Path(__file__).parent.parent / "models" / "store" / "income" / "1"


def persons(count: int) -> list[dict[str, Any]]:
    """Give so many persons, the same ones in every run: the golden inputs of the model, over and over."""
    golden = json.loads((STORE / "manifest.json").read_text())["golden"]["instances"]
    return [dict(golden[number % len(golden)]) for number in range(count)]


def instances(rows: Sequence[Row]) -> bytes:
    """Write a request of these rows as OnRecord takes it."""
    return orjson.dumps({"instances": rows})
