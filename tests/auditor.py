"""An independent checker: reads the database with the bare driver and derives everything again.

Imports nothing of ours on purpose: what the writer believes wrongly, this must not believe too. (The tree comes from
the tests' own reading of RFC 6962.) It has no keys: signatures and the head's mac are for others to check. Tests end
with `assert auditor.audit(url, seen) == []`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from tests.auditor_blocks import blocks
from tests.auditor_columns import columns_of
from tests.auditor_derived import derived
from tests.auditor_erasures import Erasures, keyed, salts
from tests.auditor_tree import Finding, Row, begun, epochs, raw, tiles, tree, uuid
from tests.vectors.slow import Slow

Select = Callable[[str], list[Row]]

_PREDICTION = 1
_ANSWERED = 201
_TABLES = {
    **{"record": "idx", "payload": "record_id", "prediction": "idx, position", "erased": "1", "derived": "1"},
    **{"outcome": "1", "head": "id", "note": "size", "tile": "level, idx", "block": "1"},
}
_SOUND: set[bytes] = set()  # digests of all that was read when nothing was found
_COMMITTED = ("input", "output", "actor", "meta")
_REASONS = ("base", "scale", "contributions")  # of an answer that was explained
_NO_VALUE = {"id", "reference", "label", "probability", "probabilities", "warnings", *_REASONS}


def audit(url: str, seen: Mapping[str, bytes] | None = None) -> list[Finding]:
    """Check one moment of the whole database; `seen` are record ids with the exact bytes that were answered.

    All of it is read every time. What was found sound before is not derived once more where every byte is the same.
    """
    with _moment(url) as select:
        tables = {name: select(f"SELECT * FROM {name} ORDER BY {order}") for name, order in _TABLES.items()}
    as_it_stands = hashlib.sha256(pickle.dumps(tables)).digest()
    for row in tables["record"]:
        row["id"] = uuid(row["id"])  # once: it is asked for again and again
    payloads = {uuid(row["record_id"]): row for row in tables["payload"]}
    erasures = Erasures(tables["record"], payloads, tables["erased"])
    answered = [*_answered(tables["record"], payloads, seen or {}, erasures)] if seen else []
    if as_it_stands in _SOUND:
        return answered
    findings = [*_findings(tables, payloads, erasures)]
    if not findings:
        _SOUND.add(as_it_stands)
    return [*findings, *answered]


def _findings(
    tables: Mapping[str, list[Row]], payloads: Mapping[UUID, Row], erasures: Erasures
) -> Iterator[Finding]:
    records, predictions, heads, notes = (tables[name] for name in ("record", "prediction", "head", "note"))
    leaves = Slow([raw(row["leaf"]) for row in records])
    yield from _order(heads, records)
    yield from (Finding(*each) for each in erasures.check(records, predictions))
    yield from _readable(
        Finding(*each)
        for each in derived(
            (records, payloads, erasures.gone), tables["derived"], tables["outcome"], predictions
        )
    )
    yield from _pairs(records, payloads, erasures)
    yield from _readable(_columns(records, payloads, erasures))
    yield from _readable(_index(records, payloads, predictions, erasures))
    yield from _leaves(records, payloads, erasures)
    yield from tree(leaves, heads, notes)
    yield from epochs(begun(records, payloads), heads, notes)
    yield from tiles(leaves, tables["tile"])
    yield from _readable(blocks(tables["block"], records, payloads, erasures.of, tables["derived"]))


def _readable(findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except (ValueError, KeyError) as broken:
        yield Finding("payload", f"cannot be read: {broken}")


@contextmanager
def _moment(url: str) -> Iterator[Select]:
    """Open a snapshot: a service may go on writing meanwhile."""
    kind, _, rest = url.partition("://")
    if kind == "sqlite":
        connection = sqlite3.connect(
            f"file:{quote(rest.removeprefix('/'))}?mode=ro", uri=True, isolation_level=None
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            yield lambda statement: [dict(row) for row in connection.execute(statement)]
        finally:
            connection.close()
    else:
        with psycopg.connect(f"postgresql://{rest}", row_factory=dict_row) as server:
            server.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield lambda statement: server.execute(statement.encode()).fetchall()


def _order(heads: list[Row], records: list[Row]) -> Iterator[Finding]:
    """Places are dense from 0, ids are unique, and the head knows how many there are and how late they came."""
    for place, row in enumerate(records):
        if row["idx"] != place:
            yield Finding(f"record {row['idx']}", f"stands at place {place}")
            break
    ids = [uuid(row["id"]) for row in records]
    for double in {each for each in ids if ids.count(each) > 1} if len(set(ids)) != len(ids) else ():
        yield Finding(f"record {double}", "is stored more than once")
    latest = lag = 0
    for row in records:
        latest = max(latest, row["observed_at_us"])
        lag = max(lag, latest - row["observed_at_us"])
    expected = {"id": 1, "size": len(records), "latest_us": latest, "lag_us": lag}
    if [{name: row[name] for name in expected} for row in heads] != [expected]:
        yield Finding("head", f"is {heads}, the records say {expected}")


def _pairs(records: list[Row], payloads: Mapping[UUID, Row], erasures: Erasures) -> Iterator[Finding]:
    """Every record has its payload unless all of it was erased, every payload its record."""
    ids = {uuid(row["id"]) for row in records}
    gone = {uuid(row["id"]) for row in records if erasures.of(row["idx"]) == set(_COMMITTED)}
    for present in sorted(gone & payloads.keys()):
        yield Finding(f"record {present}", "was erased, and has a payload")
    for missing in sorted(ids - payloads.keys() - gone):
        yield Finding(f"record {missing}", "has no payload")
    for stray in sorted(payloads.keys() - ids):
        yield Finding(f"payload {stray}", "has no record")


def _columns(records: list[Row], payloads: Mapping[UUID, Row], erasures: Erasures) -> Iterator[Finding]:
    """What the columns say, the bytes say too."""
    for row in records:
        payload, gone = payloads.get(uuid(row["id"]), {}), erasures.of(row["idx"])
        if not payload and "actor" not in gone:
            continue
        said = columns_of(row, payload, gone)
        if _is_answer(row) and "output" not in gone:
            output = json.loads(payload["output"])
            ids = [answer["id"] for answer in output["predictions"]]
            if ids != [f"{output['record']}.{position}" for position in range(len(ids))]:
                yield Finding(f"record {row['idx']}", f"its predictions call themselves {ids}")
        stored = {**row, "id": uuid(row["id"])}
        for name, value in said.items():
            if stored[name] != value:
                yield Finding(
                    f"record {row['idx']}", f"{name} is {stored[name]!r}, its payload says {value!r}"
                )


def _index(
    records: list[Row], payloads: Mapping[UUID, Row], predictions: list[Row], erasures: Erasures
) -> Iterator[Finding]:
    """The rows that lookups read are exactly those that the payloads give, with nothing of what was erased."""
    count = Counter(row["idx"] for row in predictions)
    expected = {
        (row["idx"], position): derived
        for row in records
        if _is_answer(row) and (erasures.of(row["idx"]) or uuid(row["id"]) in payloads)
        for position, derived in enumerate(
            _derive(row, payloads.get(uuid(row["id"]), {}), erasures.of(row["idx"]), count[row["idx"]])
        )
    }
    stored = {(row.pop("idx"), row.pop("position")): row for row in predictions}
    for place in sorted(expected.keys() | stored.keys()):
        want, have = expected.get(place), stored.get(place)
        where = f"prediction {place[0]}.{place[1]}"
        if want is None or have is None:
            yield Finding(where, "is missing" if have is None else "has nothing in any payload")
            continue
        for name, value in want.items():
            if have[name] != value:
                yield Finding(where, f"{name} is {have[name]!r}, the payload says {value!r}")


def _derive(record: Row, payload: Row, gone: set[str], count: int) -> Iterator[Row]:
    """Read the rows off the exact bytes that went in and came out, as far as they are there."""
    instances = None if "input" in gone else json.loads(payload["input"])["instances"]
    answers = None if "output" in gone else json.loads(payload["output"])["predictions"]
    same = {name: record[name] for name in ("client_id", "model", "version", "observed_at_us")}
    lengths = [len(each) for each in (instances, answers) if each is not None]
    for position in range(max(lengths, default=count)):
        answer = answers[position] if answers and position < len(answers) else {}
        asked = instances[position].get("reference") if instances and position < len(instances) else None
        reference = answer.get("reference")
        agrees = reference == asked or gone
        yield {
            **same,
            "reference": asked if agrees else f"asked {asked!r}, answered {reference!r}",
            "label": answer.get("label"),
            "score": _score(answer),
        }


def _score(answer: Row) -> float | None:
    """Two classes: the probability; more: that of the answered label; a regressor: the value."""
    if "probability" in answer:
        return float(answer["probability"])
    if "probabilities" in answer:
        return float(answer["probabilities"][answer["label"]])
    values = [value for name, value in answer.items() if name not in _NO_VALUE]
    return float(values[0]) if len(values) == 1 else None


def _answered(
    records: list[Row], payloads: Mapping[UUID, Row], seen: Mapping[str, bytes], erasures: Erasures
) -> Iterator[Finding]:
    """Whatever a caller was answered is on record once, byte for byte, unless it was erased."""
    gone = {uuid(row["id"]) for row in records if "output" in erasures.of(row["idx"])}
    count: dict[UUID, int] = {}
    for row in records:
        count[uuid(row["id"])] = count.get(uuid(row["id"]), 0) + 1
    for record_id, body in seen.items():
        record = UUID(record_id)
        if count.get(record, 0) == 1 and record in gone:
            continue
        if count.get(record, 0) != 1 or record not in payloads:
            yield Finding(f"record {record}", f"was answered, and is stored {count.get(record, 0)} times")
        elif bytes(payloads[record]["output"]) != body:
            yield Finding(f"record {record}", "was answered with other bytes than are stored")


def _leaves(records: list[Row], payloads: Mapping[UUID, Row], erasures: Erasures) -> Iterator[Finding]:
    """Every leaf is what its columns and payload make under its secret; nothing else knows its runtime's digest.

    The commitments to what was erased stand in the leaf alone, and nothing may be there that opens them.
    """
    for row in records:
        leaf, gone = raw(row["leaf"]), erasures.of(row["idx"])
        payload = payloads.get(uuid(row["id"]), dict.fromkeys((*_COMMITTED, "secret"), b""))
        opened = salts(raw(payload["secret"]), gone)
        committed = (
            _commitment(opened[each], each, raw(payload[each]))
            if each in opened
            else leaf[start : start + 32]
            for each, start in zip(_COMMITTED, range(92, 220, 32), strict=True)
        )
        head = struct.pack(
            ">BBH16sq", 1, row["kind"], row["status"], uuid(row["id"]).bytes, row["observed_at_us"]
        )
        if leaf != b"".join((head, row["digest"] or bytes(32), leaf[60:92], *committed)):
            yield Finding(f"record {row['idx']}", "has a leaf that columns and payload do not give")
        if any(raw(payload[each]) for each in gone) or opened.keys() & gone or len(opened) + len(gone) != 4:
            yield Finding(
                f"record {row['idx']}", f"still has something of {sorted(gone)}, or opens too little"
            )


def _commitment(salt: bytes, name: str, content: bytes) -> bytes:
    return keyed(salt, name.encode() + b"/v1" + content)


def _is_answer(row: Row) -> bool:
    return bool(row["kind"] == _PREDICTION and row["status"] == _ANSWERED)
