"""The same questions as db/auditing_rows.py, answered yes or not, at once, for the record that is as it must be.

It says nothing about what is wrong: whatever does not pass here is looked at precisely there. So nothing may pass here
that would not pass there, while the other way round costs only time.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Any

import orjson

from db.auditing_rows import ANSWERED, score
from db.records import LEAF_VERSION, SECRET_BYTES, Kind, commitments

_KIND, _TIME = Struct(">BBH"), Struct(">q")  # how a leaf begins, and goes on behind its id (db/records.py)
_ID_BYTES = 16
_CLEAR, _COMMITTED = 60, 92  # where, in a leaf, the runtime stands: nothing to compare it with
_ZEROS = bytes(32)
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
        if kind != Kind.PREDICTION or len(raw_id) != _ID_BYTES or len(secret) != SECRET_BYTES:
            return False
        clear = _KIND.pack(LEAF_VERSION, kind, status) + raw_id + _TIME.pack(observed_at_us)
        if leaf[:_CLEAR] != clear + (digest or _ZEROS):
            return False
        return bool(leaf[_COMMITTED:] == commitments(secret, row[11:15]))

    def _is_said(self, row: tuple[Any, ...], lookups: Sequence[tuple[Any, ...]]) -> bool:
        """Compare what stands in the payload only, which is known to be genuine by now."""
        idx, _, _, status, observed_at_us, _, _, client_id, model, version, _, came, went, actor, meta, _ = (
            row
        )
        if client_id != self._client(actor):
            return False
        about = orjson.loads(meta)
        said = orjson.loads(went) if status == ANSWERED else about
        named = about if "model" in about else said
        if (named["model"], named["version"]) != (model, version):
            return False
        if status != ANSWERED:
            return not lookups
        same = (client_id, said["model"], said["version"])
        each_with_its_row = zip(orjson.loads(came)["instances"], said["predictions"], lookups, strict=True)
        return lookups == [
            (
                idx,
                at,
                *same,
                one.get("reference"),
                each.get("label"),
                score(each),
                observed_at_us,
                *[its[-1]] * 2,
            )
            for at, (one, each, its) in enumerate(each_with_its_row)
        ]

    def _client(self, actor: bytes) -> object:
        if actor not in self._actors:
            if len(self._actors) >= _REMEMBERED:
                self._actors.clear()
            self._actors[actor] = orjson.loads(actor)["client_id"]
        return self._actors[actor]
