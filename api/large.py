"""Large requests for predictions are read once, by the engine; the door looks at what stands around the instances.

Reading ten thousand instances and holding them against the contract costs a door 25 ms, and the engine has to read them
anyway. So the door cuts them out, holds the rest with the first one of them against the contract, and sends along what
the contract says of each feature. The engine answers where it finds all of that kept, column by column. What it cannot
say yes to, and what is refused for whatever reason, the door reads like every other body: that names what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeVar

import orjson

from api.bodies import marks, read_json
from api.problems import RequestRefused
from api.schemas import Schema, dialect, resolved

Result = TypeVar("Result")
LARGE_BYTES = 64 << 10  # some hundred instances, half a millisecond
_TOLD_BYTES = 16 << 10  # half of what the head of a question may have
_SAID = frozenset({"type", "minimum", "maximum", "enum"})  # what models/declared.py knows, but for references
_TYPES: Mapping[str, type] = {"string": str, "null": NoneType}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A body of which only `rest`, what stands beside its `count` instances, was read; `told` is for the engine."""

    rest: Mapping[str, Any]
    count: int
    told: Mapping[str, Any]
    read: Callable[[], Awaitable[tuple[Any, str]]]  # all of it, and what to answer; raises RequestRefused


class Reader:
    """Reads large bodies beside the event loop, one at a time: callers with small ones are not kept waiting by them."""

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large")

    async def read(self, whole: Callable[[], Result]) -> Result:
        """Run what reads a body, in turn, and return or raise what it does."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, whole)


class Cutter:
    """Cuts the instances out of the bodies of one operation."""

    __slots__ = ("_allowed", "_most", "_schema")

    def __init__(self, schema: Schema, allowed: Mapping[str, Any], most: int) -> None:
        self._schema, self._allowed, self._most = schema, allowed, most

    @classmethod
    def of(cls, schema: Schema, spec: Mapping[str, Any], components: Mapping[str, Any]) -> Cutter | None:
        """Make one for an operation whose features are plainly ranges and lists of texts; for others, none."""
        if "x-model" not in spec:
            return None
        request = resolved(spec["requestBody"]["content"]["application/json"]["schema"], components)
        instances = request["properties"]["instances"]
        said = resolved(instances["items"], components)["properties"]
        said = {name: dialect(resolved(each, components)) for name, each in said.items()}
        reference = said.pop("reference")
        if not all(map(_is_plain, said.values())):
            return None
        allowed = {
            "features": {name: _listed(each) for name, each in said.items()},
            "reference": _listed(reference),
        }
        return (
            cls(schema, allowed, instances["maxItems"]) if len(orjson.dumps(allowed)) <= _TOLD_BYTES else None
        )

    def cut(self, raw: bytes, read: Callable[[], Awaitable[tuple[Any, str]]]) -> Unread | None:
        """Look at what stands around the instances; None where the whole body has to be read, which `read` does."""
        if len(raw) < LARGE_BYTES or b"\\" in raw:
            return None
        start, stop = raw.find(b"[") + 1, raw.rfind(b"]")
        end = raw.find(b"}", start) + 1
        count = self._count(raw)
        if not 0 < start < end <= stop or count is None:
            return None
        try:
            one, rest = (
                read_json(raw[:start] + raw[start:end] + raw[stop:]),
                read_json(raw[:start] + raw[stop:]),
            )
        except RequestRefused:
            return None
        if not self._schema.is_valid(one) or rest.pop("instances") != [] or rest.get("explain"):
            return None
        return Unread(rest=rest, count=count, told={"rest": rest, "count": count, **self._allowed}, read=read)

    def _count(self, raw: bytes) -> int | None:
        """Count the instances; None where more than they may be in a body, for which the engine has no time."""
        found = marks(raw)
        count = found.count(b"{") - 1
        # Twice the names that there may be: texts of some models have colons.
        most_names = 2 * (count + 1) * (len(self._allowed["features"]) + 1)
        if found.count(b"[") > 1 or count > self._most or found.count(b":") > most_names:
            return None
        return count


def _is_plain(schema: Mapping[str, Any]) -> bool:
    values = schema.get("enum", ())
    return (
        "type" in schema and schema.keys() <= _SAID and all(isinstance(each, str | None) for each in values)
    )


def _listed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Spell a schema such that its types are a list, and of its values only those of these types are left."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "enum" not in schema:
        return {**schema, "type": types}
    kept = {_TYPES[each] for each in types if each in _TYPES}
    return {**schema, "type": types, "enum": [each for each in schema["enum"] if type(each) in kept]}
