"""The same questions as db/auditing_rows.py, answered yes or not, at once, for the record that is as it must be.

It says nothing about what is wrong: whatever does not pass here is looked at precisely there. So nothing may pass here
that would not pass there, while the other way round costs only time.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Any

from orjson import loads

from db.auditing_rows import ANSWERED, score
from db.records import LEAF_VERSION, SECRET_BYTES, Kind, commitments

_CLEAR = Struct(">BBH16sq")  # how a leaf begins (db/records.py)
_ID_BYTES = 16
_RUNTIME = slice(60, 92)  # of a leaf: nothing to compare it with
_ZEROS = bytes(32)
_PREDICTION = int(Kind.PREDICTION)  # compared in a third of the time
_REMEMBERED = 1000  # actors: one for each token that is in use
_STRANGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, StructError)


class Quick:
    """Remembers who actors are: the same bytes come again and again."""

    def __init__(self) -> None:
        self._actors: dict[bytes, object] = {}

    def is_sound(self, row: tuple[Any, ...], lookups: Sequence[tuple[Any, ...]]) -> bool:
        """Say whether this is a prediction of which nothing is missing, and nothing differs from its leaf."""
        try:
            return self._is_genuine(row) and self._is_said(row, lookups)
        except _STRANGE:
            return False

    def _is_genuine(self, row: tuple[Any, ...]) -> bool:
        """Compare everything that leaves have in the clear at once, then the commitments at once."""
        _, raw_id, kind, status, observed_at_us, digest, leaf, *_, secret = row
        if kind != _PREDICTION or len(raw_id) != _ID_BYTES or len(secret) != SECRET_BYTES:
            return False
        clear = _CLEAR.pack(LEAF_VERSION, kind, status, raw_id, observed_at_us) + (digest or _ZEROS)
        return bool(
            leaf[: _RUNTIME.start] == clear and leaf[_RUNTIME.stop :] == commitments(secret, row[11:15])
        )

    def _is_said(self, row: tuple[Any, ...], lookups: Sequence[tuple[Any, ...]]) -> bool:
        """Compare what stands in the payload only, which is known to be genuine by now."""
        idx, _, _, status, at_us, _, _, client_id, model, version, _, came, went, actor, meta, _ = row
        if client_id != self._client(actor):
            return False
        named = loads(meta)
        if status != ANSWERED:
            return not lookups and (named["model"], named["version"]) == (model, version)
        said = loads(went)
        if "model" not in named:
            named = said
        if named["model"] != model or named["version"] != version:
            return False
        each_with_its_row = zip(loads(came)["instances"], said["predictions"], lookups, strict=True)
        return lookups == [
            (idx, at, client_id, model, version, one.get("reference"), each.get("label"), score(each), at_us)
            + its[-1:] * 2
            for at, (one, each, its) in enumerate(each_with_its_row)
        ]

    def _client(self, actor: bytes) -> object:
        if actor not in self._actors:
            if len(self._actors) >= _REMEMBERED:
                self._actors.clear()
            self._actors[actor] = loads(actor)["client_id"]
        return self._actors[actor]
