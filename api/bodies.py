r"""Bytes to JSON values, strictly: I-JSON (RFC 7493) and nothing else, in one parser for the whole service.

Two passes over different ground. orjson refuses bad UTF-8, NaN, Infinity, numbers beyond binary64 and control
characters, but keeps the last of two equal names. Whether it dropped one shows in the number of colons: write the
value again, count them on both sides. That costs 2 µs for a usual body, the careful one 33. It only holds where no
string is escaped (`\u003a` is a colon, too), so a body with a backslash takes the careful parser, like every body
that is refused, because only the careful parser can say why. For an object with lists of flat objects, as most bodies
are, names and brackets are counted without writing anything.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from api.problems import RequestRefused

MAX_DEPTH = 32
MAX_DIGITS = 400
_ALIKE = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_COUNTED = bytes(set(range(256)) - set(b":[{"))
_MANY_BYTES = 4096
_ONLY_OBJECTS = frozenset({dict})
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(raw: bytes) -> Any:
    """Read a whole body.

    Raises:
        RequestRefused: `malformed-json`, saying which rule of I-JSON was broken, never showing the body.
    """
    if b"\\" in raw:
        return _read_carefully(raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _read_carefully(raw)
    if _is_plain(raw, value):
        return value
    if _is_deep(raw):
        _refuse(f"it is nested deeper than {MAX_DEPTH} levels")
    return value if _has_its_names(raw, value) else _read_carefully(raw)


def is_strict(raw: bytes, value: Any) -> bool:
    """Say whether bytes without a backslash, which orjson reads as this value, are what `read_json` would take."""
    return _is_plain(raw, value) or (not _is_deep(raw) and _has_its_names(raw, value))


def _refuse(reason: str) -> NoReturn:
    raise RequestRefused("malformed-json", reason)


def _read_carefully(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("it is not UTF-8")
    if text.startswith("\ufeff"):
        _refuse("it starts with a byte order mark")
    if _depth(raw) > MAX_DEPTH:
        _refuse(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        value = _DECODER.decode(text.strip(" \t\r\n"))
    except json.JSONDecodeError as error:
        _refuse(f"{error.msg} at character {error.pos}")
    _check_text(value)
    return value


def marks(raw: bytes) -> bytes:
    """Leave only colons and opening brackets of a body, in strings or not: who counts them counts what it can hold."""
    return raw.translate(None, _NOT_COUNTED)


def _has_its_names(raw: bytes, value: Any) -> bool:
    return orjson.dumps(value).count(b":") == raw.count(b":")


def _is_plain(raw: bytes, value: Any) -> bool:
    """Say whether names and brackets that are plain to see in a value are all there are in its body.

    The body has no backslash. Then no name was there twice, and nothing is nested deeper than what was looked at. False
    says nothing.
    """
    if type(value) is not dict:
        return False
    names, brackets = len(value), 1
    for member in value.values():
        if type(member) is list:
            if not _ONLY_OBJECTS.issuperset(map(type, member)):
                return False
            names += sum(map(len, member))
            brackets += 1 + len(member)
    if len(raw) > _MANY_BYTES:  # one pass that is left with little, instead of three
        raw = marks(raw)
    return raw.count(b":") == names and raw.count(b"[") + raw.count(b"{") == brackets


def _is_deep(raw: bytes) -> bool:
    """Say whether legal JSON without a backslash is nested too deep; a sixth of the work of counting how deep.

    Every second piece between quotes is outside of strings. Of the brackets there, each turn takes the innermost pairs.
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    brackets = b"".join(raw.split(b'"')[::2]).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"{}", b"")
    return bool(brackets)


def _depth(raw: bytes) -> int:
    """Count the deepest nesting in linear time; brackets inside strings do not count."""
    depth = deepest = 0
    for token in _BRACKETS.findall(raw):
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest


# A string, also one that never ends (it may hold brackets), or one bracket. Possessive, and the closing quote optional:
# otherwise a body of `"\"\"\"…` would be scanned once from each of its quotes, in quadratic time.
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _refuse("an object has the same name twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        _refuse("a number is beyond binary64")
    return number


def _whole(text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        _refuse(f"a number has more than {MAX_DIGITS} digits")
    number = int(text)
    # orjson reads integers beyond 64 bits as floats; both ways must give the same value.
    return number if -(2**63) <= number < 2**64 else _finite(text)


def _no_constant(text: str) -> NoReturn:
    _refuse(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=_finite,
    parse_int=_whole,
    parse_constant=_no_constant,
    strict=True,
)


def _check_text(value: Any) -> None:
    """Refuse legal JSON that cannot be stored as text: unpaired surrogates (not UTF-8), U+0000 (PostgreSQL)."""
    if isinstance(value, str):
        if _SURROGATE.search(value):
            _refuse("a string has an unpaired surrogate")
        if "\x00" in value:
            _refuse("a string has U+0000")
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name)
            _check_text(member)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
