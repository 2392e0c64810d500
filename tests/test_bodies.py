"""What counts as a JSON body: I-JSON and nothing else, whichever of the two parsers reads it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import bodies
from api.problems import RequestRefused

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _FINITE | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip

REFUSED = {
    "nothing": b"",
    "only blanks": b" \n",
    "a name given twice": b'{"a":1,"a":2}',
    "a name given twice, deep inside": b'[{"b":{"a":1,"a":1}}]',
    "a name given twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a name given twice, its colons made up for by an escaped one": b'{"a":1,"a":"\\u003a"}',
    "NaN": b'{"a":NaN}',
    "Infinity": b"[-Infinity]",
    "a number beyond binary64": b"[1e400]",
    "a number of 5,000 digits": b"1" * 5000,
    "an unpaired surrogate": b'"\\ud800"',
    "U+0000": b'"\\u0000"',
    "bytes that are not UTF-8": b'"\xff"',
    "an overlong encoding": b'"\xc0\xaf"',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "33 levels": b"[" * 33 + b"]" * 33,
    "100,000 levels": b"[" * 100_000,
    "a control character": b'"\x01"',
    "a leading zero": b"[01]",
    "a trailing comma": b"[1,]",
    "two values": b"1 2",
    "single quotes": b"{'a':1}",
    "a cut body": b'{"a":',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    """Everything that two JSON parsers could read in two ways is refused with its reason."""
    with pytest.raises(RequestRefused) as refused:
        bodies.read_json(body)

    assert refused.value.fault.slug == "malformed-json"


@given(_VALUES)
def test_both_parsers_read_the_same_value(value: object) -> None:
    """What the fast way accepts, the careful way accepts with the same value and the same types."""
    raw = json.dumps(value, ensure_ascii=False).encode()

    quick, careful = bodies.read_json(raw), bodies._read_carefully(raw)

    assert repr(quick) == repr(careful)


_FLAT = st.lists(st.tuples(_TEXT, _FINITE | _TEXT), max_size=4)


@given(st.lists(_FLAT, max_size=3), _FLAT)
def test_a_flat_body_with_a_name_twice_is_refused(rows: list[list[tuple[str, object]]], own: object) -> None:
    """Counting names instead of writing the value again finds every name that was given twice, and no other."""
    assert isinstance(own, list)
    raw = _object([*own, ("rows", [_object(row) for row in rows])])
    is_strict = all(len({name for name, _ in pairs}) == len(pairs) for pairs in [[*own, ("rows", 0)], *rows])

    try:
        bodies.read_json(raw.encode())
    except RequestRefused:
        assert not is_strict
    else:
        assert is_strict


def _object(pairs: list[tuple[str, object]]) -> str:
    """Write an object as its pairs say, repeated names and all; lists hold text that is written already."""
    written = (f"[{','.join(each)}]" if isinstance(each, list) else json.dumps(each) for _, each in pairs)
    return (
        "{"
        + ",".join(f"{json.dumps(name)}:{each}" for (name, _), each in zip(pairs, written, strict=True))
        + "}"
    )


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@given(st.binary(max_size=60) | _VALUES.map(lambda value: json.dumps(value).encode()[:-1]))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """No sequence of bytes makes the parser fail in a third way."""
    try:
        bodies.read_json(raw)
    except RequestRefused as refused:
        assert refused.fault.slug == "malformed-json"


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\"', b"[{", b'{"a":', b"\\"])
def test_a_hostile_megabyte_costs_no_more_than_its_length(unit: bytes) -> None:
    """Bodies made to send a scanner back and forth are refused in linear time."""
    body = b'"' + unit * (1_000_000 // len(unit))

    started = time.process_time()
    with pytest.raises(RequestRefused):
        bodies.read_json(body)

    assert time.process_time() - started < 2


@given(
    st.integers(0, 2),
    st.integers(bodies.MAX_DEPTH - 3, bodies.MAX_DEPTH + 3),
    st.text('[]{}", :', max_size=8),
)
def test_brackets_in_strings_do_not_count_as_depth(shape: int, depth: int, text: str) -> None:
    """However many siblings there are and whatever strings say, the limit is met exactly where nesting passes it."""
    text = text.replace('"', "")
    value: object = text
    for level in range(depth):
        value = [value, {text: text}][: level + 1] if (level + shape) % 2 else {text: value, text + "x": text}
    raw = json.dumps({"a": [{}] * bodies.MAX_DEPTH, "b": value}).encode()

    assert bodies._is_deep(raw) == (bodies._depth(raw) > bodies.MAX_DEPTH)
    assert bodies._is_deep(raw) == (depth + 1 > bodies.MAX_DEPTH)
