"""How far an audit came: kept by whoever audits, so that the next one goes on from there.

Kept is only what was found sound, and only as long as nothing was found. It is bound to the pinned key and, where it is
at hand, to the key of the head's mac; without that, the binding tells accidents and mix-ups from each other, and a file
that somebody else may write is not to be believed.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, text

from db import auditing_erasures
from db.auditing import Tally
from db.auditing_state import TOLD
from db.notes import VerifierKey
from db.records import COMMITTED
from db.tree import Frontier, FrontierRefused

_FORMAT = "onrecord-verify/2"
_TOLD = text("SELECT idx FROM record WHERE idx < :size AND kind IN :kinds ORDER BY idx").bindparams(
    bindparam("kinds", sorted(map(int, TOLD)), expanding=True)
)
_ERASED_SINCE = text(
    "SELECT DISTINCT idx FROM erased WHERE idx < :size AND erasure_idx >= :as_of ORDER BY idx"
)


class ReachedRefused(Exception):
    """What is said of how far an audit came is about another ledger, or was not written by an audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The first records were sound: the tree over them, and what was counted."""

    frontier: Frontier = field(default_factory=Frontier)
    tally: Tally = field(default_factory=Tally)
    as_of: int = 0  # how many records there were then: erasures from there on had not happened yet

    @property
    def size(self) -> int:
        """How many records."""
        return self.frontier.size


def encode(reached: Reached, key: VerifierKey, mac_key: bytes | None) -> bytes:
    """Write it down, bound to the ledger."""
    said = {
        "format": _FORMAT,
        "key": str(key),
        "size": reached.size,
        "root": reached.frontier.root().hex(),
        "frontier": reached.frontier.to_bytes().hex(),
        "tally": asdict(reached.tally),
        "as_of": reached.as_of,
    }
    return json.dumps(said | {"mac": _mac(said, key, mac_key)}, indent=2).encode() + b"\n"


def decode(data: bytes, key: VerifierKey, mac_key: bytes | None) -> Reached:
    """Read what `encode` wrote with the same keys.

    Raises:
        ReachedRefused: it is anything else.
    """
    try:
        said = json.loads(data)
        mac, whose = said.pop("mac"), said["key"]
        if said["format"] != _FORMAT:
            raise ReachedRefused(f"is of format {said['format']!r}, not {_FORMAT}")
        if whose != str(key):
            raise ReachedRefused(f"belongs to the ledger {whose}, and this is {key}")
        if not hmac.compare_digest(mac, _mac(said, key, mac_key)):
            raise ReachedRefused("was changed, or written without the key of the head's mac that is here now")
        reached = Reached(
            frontier=Frontier.from_bytes(bytes.fromhex(said["frontier"])),
            tally=Tally(**said["tally"]),
            as_of=int(said["as_of"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, FrontierRefused) as strange:
        raise ReachedRefused(f"cannot be read ({type(strange).__name__})") from strange
    return reached


def told(connection: Connection, size: int) -> Iterator[int]:
    """Name the records below this size that made the state what it is: they are read again, the state is not kept."""
    yield from connection.scalars(_TOLD, {"size": size}).all()


def erased_since(connection: Connection, reached: Reached) -> Iterator[tuple[int, Tally]]:
    """Name those of the first records that lost something since, and what had been counted of each."""
    within = {"size": reached.size, "as_of": reached.as_of}
    for idx in connection.scalars(_ERASED_SINCE, within).all():
        before = [
            each
            for each in auditing_erasures.of_range(connection, idx, idx + 1)[idx]
            if each.erasure_idx < reached.as_of
        ]
        is_paid = set(auditing_erasures.union(before)) != set(COMMITTED)
        yield idx, Tally(payloads=int(is_paid), erased=int(bool(before)), erasures=len(before))


def _mac(said: dict[str, Any], key: VerifierKey, mac_key: bytes | None) -> str:
    message = b"verify/v1" + json.dumps(said, sort_keys=True).encode()
    return hmac.digest(mac_key or str(key).encode(), message, "sha256").hex()
