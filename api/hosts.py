"""The names this service answers to: a request that names another was meant for somebody else (RFC 9112, 3.2)."""

from __future__ import annotations

import re

_ENTRY = re.compile(r"(?:https?://)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?:/[^\s,]*)?")
_HOST = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_MAX_PORT = 65535
# Spellings that were accepted are remembered, so that a usual request costs one look-up; strangers cannot fill it.
_REMEMBERED = 64


class Hosts:
    """Says whether a Host is one of ours: `name` with any port, `name:port` with that port only."""

    def __init__(self, listed: str) -> None:
        found = [match.groups() for match in map(_ENTRY.fullmatch, re.split(r"[,\s]+", listed)) if match]
        self._with_any_port = frozenset(name.lower().encode() for name, port in found if port is None)
        self._exact = frozenset(f"{name}:{port}".lower().encode() for name, port in found if port is not None)
        self._remembered: set[bytes] = set()

    def allow(self, host: bytes) -> bool:
        """Look a Host up, as it was sent."""
        if host in self._remembered:
            return True
        if not self._is_ours(host.lower()):
            return False
        if len(self._remembered) < _REMEMBERED:
            self._remembered.add(host)
        return True

    def _is_ours(self, host: bytes) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name, port = match.groups()
        if port is not None and not 0 < int(port) <= _MAX_PORT:
            return False
        return name in self._with_any_port or host in self._exact
