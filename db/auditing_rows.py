"""One record held against its own bytes: leaf, columns, commitments, and the rows that lookups read.

Pure: it is given what is stored, and says what is wrong with it. Columns have to say what the leaf or, where the leaf
has nothing but a commitment, the payload says; where the payload was erased, db/auditing_erasures.py has them compared
with the record of the erasure. A request that failed under a release whose `meta` did not yet name model and version is
the one case in which those two columns cannot be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hmac import compare_digest
from typing import Any
from uuid import UUID

import orjson

from db.auditing import Cause
from db.records import COMMITTED, SECRET_BYTES, Kind, Leaf, LeafRefused, commitment, read_leaf, salts

Wrong = tuple[Cause, str]
ANSWERED = 201
_REASONS = ("base", "scale", "contributions")  # of an answer that was explained
_NOT_THE_VALUE = {"id", "reference", "label", "probability", "probabilities", "warnings", *_REASONS}
_ZEROS = bytes(32)  # the leaf's spelling of no digest
COLUMNS = ("client_id", "model", "version", "reference", "label", "score", "observed_at_us", "outcome_idx")


def raw(value: Any) -> bytes:
    """Return the bytes of a value, whatever type somebody has stored in its place."""
    match value:
        case bytes():
            return value
        case memoryview():
            return bytes(value)
        case UUID():
            return value.bytes
        case _:
            return str(value).encode("utf-8", "surrogatepass")


def check(row: Any, predictions: Sequence[Any], erased: Collection[str] = ()) -> Iterator[Wrong]:
    """Say everything that is wrong with one row of record and payload, and with its rows of lookups.

    `erased` are the committed fields that must be gone.
    """
    try:
        leaf = read_leaf(raw(row.leaf))
    except LeafRefused as refused:
        yield Cause.LEAF, str(refused)
        return
    yield from _leaf_columns(row, leaf)
    if row.record_id is None:
        if set(erased) != set(COMMITTED):
            yield Cause.PAYLOAD, "is missing, and no erasure is on record"
            return
    elif wrong := list(_commitments(row, leaf, erased)):
        yield from wrong  # what is not what was committed to says nothing about the columns either
        return
    try:
        yield from _said(row, erased)
        yield from _predictions(row, predictions, erased)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as broken:
        yield Cause.PAYLOAD, f"cannot be read as what it was committed as ({type(broken).__name__})"


def _leaf_columns(row: Any, leaf: Leaf) -> Iterator[Wrong]:
    if raw(row.id) != leaf.id.bytes:
        yield Cause.COLUMN, f"id is {raw(row.id).hex()}, the leaf says {leaf.id.hex}"
    for name in ("kind", "status", "observed_at_us"):
        if getattr(row, name) != getattr(leaf, name):
            yield Cause.COLUMN, f"{name} is {getattr(row, name)!r}, the leaf says {int(getattr(leaf, name))}"
    if (row.digest or _ZEROS) != (leaf.digest or _ZEROS):
        yield Cause.COLUMN, "digest is not the leaf's"


def _commitments(row: Any, leaf: Leaf, erased: Collection[str]) -> Iterator[Wrong]:
    secret = raw(row.secret)
    salt = salts(secret)
    if (len(secret) != SECRET_BYTES) != bool(erased):
        yield Cause.ERASURE, "still opens what was erased" if erased else "its secret is not whole"
        return
    for name in COMMITTED:
        content = raw(getattr(row, name))
        if name in erased:
            if content or name in salt:
                yield Cause.ERASURE, f"{name} was erased, and is still present"
        elif name not in salt:
            yield Cause.PAYLOAD, f"what opens {name} is missing, and no erasure is on record"
        elif not compare_digest(commitment(salt[name], name, content), getattr(leaf, name)):
            yield Cause.COMMITMENT, f"{name} (or the secret) is not what the leaf commits to"


def _said(row: Any, erased: Collection[str]) -> Iterator[Wrong]:
    """Compare what the leaf does not have in the clear with the payload, which is known to be genuine by now."""
    said = {"client_id": "" if "actor" in erased else orjson.loads(row.actor).get("client_id")}
    said |= _model(row, erased)
    for name, value in said.items():
        if getattr(row, name) != value:
            yield Cause.COLUMN, f"{name} is {getattr(row, name)!r}, the payload says {value!r}"


def _model(row: Any, erased: Collection[str]) -> Mapping[str, Any]:
    match row.kind:
        case Kind.PREDICTION:
            said = {} if "meta" in erased else orjson.loads(row.meta)
            if "model" not in said and row.status == ANSWERED and "output" not in erased:
                said = orjson.loads(row.output)
            return {name: said[name] for name in ("model", "version") if name in said}
        case Kind.MODEL | Kind.TWIN:
            said = orjson.loads(row.output)
            return {name: said[name] for name in ("model", "version")}
        case Kind.REPLAY | Kind.OUTCOME if "output" in erased:
            return {}
        case Kind.REPLAY:
            said = orjson.loads(row.output)
            digest = bytes.fromhex(said["digest"])
            return {"model": said["model"], "version": said["version"], "digest": digest}
        case Kind.OUTCOME:
            said = orjson.loads(row.output)
            return {name: said.get(name) for name in ("model", "version")}
    return {"model": None, "version": None}


def _predictions(row: Any, stored: Sequence[Any], erased: Collection[str]) -> Iterator[Wrong]:
    is_answer = row.kind == Kind.PREDICTION and row.status == ANSWERED
    expected = dict(enumerate(_derive(row, len(stored), erased) if is_answer else ()))
    found = {each.position: each for each in stored}
    for position in sorted(expected.keys() | found.keys()):
        if position not in found:
            yield Cause.PREDICTION, f"position {position} is missing"
        elif position not in expected:
            yield Cause.PREDICTION, f"position {position} has nothing in the payload"
        else:
            newest = found[position].newest_idx
            for name, value in zip(COLUMNS, (*expected[position], newest), strict=True):
                if (have := getattr(found[position], name)) != value:
                    yield (
                        Cause.PREDICTION,
                        f"{name} of position {position} is {have!r}, the payload says {value!r}",
                    )


def _derive(row: Any, count: int, erased: Collection[str]) -> Iterator[tuple[Any, ...]]:
    """Read the rows off the exact bytes that went in and came out, in the order of COLUMNS, but for the last: that is
    for the records of outcomes to say (db/auditing_derived.py).

    What was erased says nothing any more; the columns of the record, which are compared elsewhere, say the rest.
    """
    instances = None if "input" in erased else orjson.loads(row.input)["instances"]
    answers = None if "output" in erased else orjson.loads(row.output)["predictions"]
    if instances is None:
        instances = [{}] * (count if answers is None else len(answers))
    if answers is None:
        answers = [{}] * len(instances)
    same = (row.client_id, row.model, row.version)
    for instance, answer in zip(instances, answers, strict=True):
        said = (instance.get("reference"), answer.get("label"), score(answer))
        yield *same, *said, row.observed_at_us


def score(answer: Mapping[str, Any]) -> float | None:
    """Read off one answer what lookups sort by."""
    if "probability" in answer:
        return float(answer["probability"])
    if "probabilities" in answer:
        return float(answer["probabilities"][answer["label"]])
    values = [value for name, value in answer.items() if name not in _NOT_THE_VALUE]
    return float(values[0]) if len(values) == 1 else None
