"""How a setting is declared, how its text becomes its value, and the words for what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# sun_path holds 108 bytes with its closing zero (unix(7)); a longer path fails only at bind time, and badly.
SOCKET_PATH_BYTES = 107
SIX_MONTHS = 184  # the longest there are, in days


class SettingRefused(Exception):
    """A variable holds what it must not; nothing was started."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        # A database's address may hold a password.
        shown = f"{value.partition('://')[0]}://…" if variable == "DATABASE_URL" else value
        super().__init__(f"{variable}={shown!r} cannot be used; allowed: {allowed}")
        self.variable, self.value, self.allowed = variable, value, allowed


@dataclass(frozen=True, slots=True)
class Reading:
    """How a variable's text becomes its value: `read` raises ValueError on what `allowed` does not cover."""

    allowed: str
    read: Callable[[str], Any]


def whole(low: int, high: int, unit: str = "") -> Reading:
    """Read a whole number within bounds, both included."""

    def read(text: str) -> int:
        if not low <= (number := int(text)) <= high:
            raise ValueError(text)
        return number

    return Reading(f"a whole number from {low} to {high}{' ' + unit if unit else ''}", read)


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise ValueError(text)
    return share


def matching(pattern: str, allowed: str) -> Reading:
    """Read a text of which the whole matches."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Reading(allowed, read)


def one_of(choices: Mapping[str, Any]) -> Reading:
    """Read one of a few words, in any case."""

    def read(text: str) -> Any:
        if text.lower() not in choices:
            raise ValueError(text)
        return choices[text.lower()]

    return Reading(", ".join(choices), read)


def door_count(text: str) -> int:
    """Read a number of doors, or choose one for this machine."""
    if text == "auto":  # one core is left to the engine; beyond four doors the engine is the limit
        return max(1, min(4, (os.cpu_count() or 1) - 1))
    return int(whole(1, 64).read(text))


def socket_path(text: str) -> Path:
    """Read a path that fits into the address of a unix socket."""
    if not text or len(os.fsencode(text)) > SOCKET_PATH_BYTES:
        raise ValueError(text)
    return Path(text)


class EntryRefused(ValueError):
    """One of several entries is not allowed; `entry` is the one."""

    def __init__(self, entry: str) -> None:
        super().__init__(entry)
        self.entry = entry


URL_PATTERN = r"https?://[^\s/?#]+(/[^\s?#]*[^\s/?#])?"
PATH = Reading("a path", lambda text: Path(matching(".+", "").read(text)))
MAYBE_PATH = Reading("nothing, or a path", lambda text: Path(text) if text else None)
DATABASE = matching(r"(sqlite:///|postgresql\+psycopg://).+", "sqlite:///<file> or postgresql+psycopg://…")
SOCKET = Reading(f"a path of at most {SOCKET_PATH_BYTES} bytes", socket_path)
HOST = matching(r"[A-Za-z0-9.:_-]+", "a host name or address to bind to")
DOORS = Reading("auto, or a whole number from 1 to 64", door_count)
PREFIX = matching(r"(/[A-Za-z0-9._~-]+)*", "nothing, or a path such as /onrecord (no slash at its end)")
URL = matching(URL_PATTERN, "an http(s) URL without a slash at its end")
HOSTS = matching(
    r"({0})([\s,]+({0}))*".format(
        r"(https?://)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[^\s,]*)?"
    ),
    "host names or addresses, with or without a port, or URLs of them, with commas between them",
)
NAMES = matching(
    r"([A-Za-z0-9._-]+([\s,]+[A-Za-z0-9._-]+)*)?", "nothing, or host names with commas between them"
)
ADDRESSES = matching(r"\*|[0-9a-fA-F.:/, ]*", "addresses or networks with commas between them, or *")
OPTIONAL_URL = matching(r"(https?://[^\s?#]+)?", "nothing, or an http(s) URL")
PLACE = matching(r"(https?://\S+|[^:\s]+)?", "nothing, an http(s) URL, or a path")
AUDIENCE = matching(r"[!-~]+", "a text without spaces")
TOKEN_ALGORITHM = one_of({"es256": "ES256", "rs256": "RS256"})
LEVEL = one_of({name: name for name in ("debug", "info", "warning", "error")})
OPENED = matching(
    r"({0}(\s*,\s*{0})*)?".format(r"[a-z0-9][a-z0-9._-]*(:[1-9][0-9]{0,6})?"),
    "nothing, or names of models with commas between them, such as iris:60, housing",
)
SWITCH = one_of({"on": True, "off": False})
SHARE = Reading("a number from 0 to 1", _share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """One line of the settings table, as README and `python -m api settings` print it."""

    variable: str
    default: str
    allowed: str
    meaning: str
    trust: str


def setting(default: str, reading: Reading, meaning: str, trust: str) -> Any:
    """Declare a field of `Settings`: its default as text, how it is read, and what README says of it."""
    return field(metadata={"default": default, "reading": reading, "meaning": meaning, "trust": trust})


def refuse_short(days: int, *, is_wanted: bool) -> None:
    """Raise SettingRefused for a retention that the EU AI Act calls too short, unless that is wanted."""
    if 0 < days < SIX_MONTHS and not is_wanted:
        allowed = f"0, or at least {SIX_MONTHS}; fewer with ONRECORD_RETENTION_UNDER_SIX_MONTHS=on"
        raise SettingRefused("ONRECORD_RETENTION_DAYS", str(days), allowed)


def within(value: object) -> str:
    """Write a value into a default; an IPv6 address wants brackets there (RFC 3986, 3.2.2)."""
    return f"[{value}]" if re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", str(value)) else str(value)


def written(value: object) -> str:
    """Write a value as a variable holds it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def variable_of(name: str) -> str:
    """Name the variable behind a field: `drain_s` is set by `ONRECORD_DRAIN_S`."""
    return "DATABASE_URL" if name == "database_url" else f"ONRECORD_{name.upper()}"


def read(name: str, about: Mapping[str, Any], text: str) -> Any:
    """Read what a variable is set to; raises SettingRefused."""
    reading: Reading = about["reading"]
    try:
        return reading.read(text)
    except ValueError as refused:
        culprit = refused.entry if isinstance(refused, EntryRefused) else text
        raise SettingRefused(variable_of(name), culprit, reading.allowed) from refused


def documented(name: str, about: Mapping[str, Any]) -> Documented:
    """Say all there is to say of a setting."""
    allowed = about["reading"].allowed
    told = {each: about[each] for each in ("default", "meaning", "trust")}
    return Documented(variable=variable_of(name), allowed=allowed, **told)
