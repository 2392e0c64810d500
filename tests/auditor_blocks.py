"""What the payloads say of the columns that are kept once more, for the auditor that imports nothing of ours."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.auditor_tree import Finding, Row, raw, uuid

_FORMS = {b"B": "B", b"H": "H", b"I": "I", b"Q": "Q"}
_NO_VALUE = {"id", "reference", "label", "probability", "probabilities", "warnings"}


def blocks(
    rows: Sequence[Row],
    records: Sequence[Row],
    payloads: Mapping[UUID, Row],
    gone: Callable[[int], set[str]],
    made: Sequence[Row],
) -> Iterator[Finding]:
    """Read every stored column value by value, and compare each with what its record's payload says."""
    spans = {row["start"]: row["stop"] for row in rows if row["model"] == row["name"] == ""}
    ends = sorted(spans.items())
    if any(start < stop for (_, stop), (start, _) in pairwise(ends)):
        yield Finding("block", "overlaps with another")
    stored = {
        (row["start"], row["model"], row["version"], row["name"]): values(raw(row["content"]))
        for row in rows
        if row["name"]
    }
    if {start for start, *_ in stored} - set(spans):
        yield Finding("block", "belongs to no span")
    expected = _expected(spans, records, payloads, gone, made)
    for key in sorted(expected.keys() | stored.keys()):
        if not _same(expected.get(key), stored.get(key)):
            yield Finding(f"block {key[0]}", f"{key[1:]} is not what the payloads say")


def _expected(
    spans: Mapping[int, int],
    records: Sequence[Row],
    payloads: Mapping[UUID, Row],
    gone: Callable[[int], set[str]],
    made: Sequence[Row],
) -> dict[tuple[int, str, str, str], list[Any]]:
    expected: dict[tuple[int, str, str, str], list[Any]] = {}
    origins = {row["idx"]: row for row in made if row["position"] is not None}
    for row in records:
        start = max((each for each in spans if each <= row["idx"] < spans[each]), default=None)
        if start is None:
            continue
        lost = gone(row["idx"])
        if (row["kind"], row["status"]) == (1, 201) and not {"input", "output"} & lost:
            _add(expected, start, row, payloads[uuid(row["id"])])
        elif row["kind"] == 10 and row["idx"] in origins:
            payload = {} if "input" in lost else json.loads(bytes(payloads[uuid(row["id"])]["input"]))["args"]
            _report(expected, start, row, origins[row["idx"]], payload)
    return expected


def _add(expected: dict[tuple[int, str, str, str], list[Any]], start: int, row: Row, payload: Row) -> None:
    instances, answers = (
        json.loads(bytes(payload["input"]))["instances"],
        json.loads(bytes(payload["output"]))["predictions"],
    )
    rows = expected.setdefault((start, row["model"], row["version"], "idx"), [])
    for position, (instance, answer) in enumerate(zip(instances, answers, strict=True)):
        rows.append(row["idx"])
        said = {"position": position, "at": row["observed_at_us"], "label": answer.get("label")}
        said |= {"score": _score(answer), "warnings": len(answer.get("warnings", []))}
        said |= {f"feature:{name}": value for name, value in instance.items() if name != "reference"}
        said |= {f"probability:{name}": value for name, value in answer.get("probabilities", {}).items()}
        for name, value in said.items():
            column = expected.setdefault((start, row["model"], row["version"], name), [])
            column += [None] * (len(rows) - 1 - len(column)) + [value]


def _report(
    expected: dict[tuple[int, str, str, str], list[Any]], start: int, row: Row, origin: Row, told: Row
) -> None:
    value = told.get("value")
    said = {"idx": row["idx"], "of": origin["of_idx"], "position": origin["position"]}
    said |= {"value": value if isinstance(value, str) else None}
    said |= {"number": None if isinstance(value, str) else value}
    said |= {"at": told.get("observed_at_us", row["observed_at_us"])}
    for name, each in said.items():
        expected.setdefault((start, row["model"], row["version"], f"outcome:{name}"), []).append(each)


def _score(answer: Mapping[str, Any]) -> float | None:
    if "probability" in answer:
        return float(answer["probability"])
    if "probabilities" in answer:
        return float(answer["probabilities"][answer["label"]])
    return next((float(value) for name, value in answer.items() if name not in _NO_VALUE), None)


def _same(expected: list[Any] | None, stored: list[Any] | None) -> bool:
    if expected is None or stored is None:
        return False
    return expected + [None] * (len(stored) - len(expected)) == stored


def values(packed: bytes) -> list[Any]:
    """Read a column as db/columns.py says that it is written."""
    body = zlib.decompress(packed[1:]) if packed[:1] == b"z" else packed[1:]
    kind = body[:1]
    if kind == b"d":
        return [None if each != each else each for each in _unpacked("d", body[1:])]
    if kind == b"c":
        (length,) = struct.unpack_from("<I", body, 1)
        there = json.loads(body[5 : 5 + length])
        return [None if code < 0 else there[code] for code in _unpacked("i", body[5 + length :])]
    (least,) = struct.unpack_from("<q", body, 1)
    return [least + each for each in _unpacked(_FORMS[kind], body[9:])]


def _unpacked(form: str, data: bytes) -> tuple[Any, ...]:
    return struct.unpack(f"<{len(data) // struct.calcsize('<' + form)}{form}", data)
