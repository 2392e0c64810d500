"""Records that were made from others: replays from their originals, outcomes from the predictions they are about.

Which from which is a row, so that an erasure finds what repeats what it erases. Of outcomes, the newest one of each
prediction is a row as well: what is known now, without reading every report there ever was. Both are written in the
transaction of the record, under the lock on `head`, where nothing they depend on can change any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, select, tuple_, update

from db.engine import inserter
from db.records import Origin, Record, mask
from db.tables import derived, erased, outcome, prediction

_DERIVED = ("idx", "of_idx", "position")
_OUTCOME = (
    "prediction_idx", "position", "outcome_idx", "value", "number", "observed_at_us", "reported_at_us",
)  # fmt: skip
NONE_YET = -1  # where no outcome is known; no record has this place
CONTENT = mask(("input", "output"))


class Overtaken(Exception):
    """What these records were made from changed before they could be stored; nothing of their group was.

    `reasons` are the words of problems: `erased`, or `precondition-failed`.
    """

    def __init__(self, reasons: Mapping[UUID, str]) -> None:
        super().__init__("what was to be recorded was overtaken by what was recorded before it")
        self.reasons = dict(reasons)


def check(connection: Connection, records: Sequence[Record]) -> None:
    """Look, under the lock on `head`, whether what records were made from is still what it was.

    Raises:
        Overtaken: naming every record of which it is not.
    """
    made = [(each.id, each.origin, each.outcome) for each in records if each.origin is not None]
    gone = _erased(connection, {of.idx for _, of, _ in made if of.unless_erased})
    reasons = {id_: "erased" for id_, of, _ in made if of.unless_erased and of.idx in gone}
    seen: set[tuple[int, int | None]] = set()  # of this very group
    for id_, of, said in made:
        its = (of.idx, of.position)
        if said is None:
            continue
        if said.after is not None and (its in seen or _newest(connection, of) != said.after):
            reasons[id_] = "precondition-failed"
        seen.add(its)
    if reasons:
        raise Overtaken(reasons)


def _newest(connection: Connection, of: Origin) -> int:
    c = outcome.c
    its = (c.prediction_idx == of.idx, c.position == of.position)
    found = connection.scalar(select(c.outcome_idx).where(*its))
    return NONE_YET if found is None else found


def _erased(connection: Connection, places: set[int]) -> set[int]:
    if not places:
        return set()
    c = erased.c
    gone = select(c.idx).where(c.idx.in_(places), c.fields.op("&")(CONTENT) != 0)
    return set(connection.scalars(gone))


class Derivations:
    """Writes the rows of derived records through the pen."""

    def __init__(self, engine: Engine) -> None:
        self._add_derived = inserter(engine, derived, _DERIVED)
        self._add_outcomes = inserter(engine, outcome, _OUTCOME)

    def add(self, connection: Connection, places: range, records: Sequence[Record]) -> None:
        """Insert what records at these places were made from, and let outcomes take the place of earlier ones."""
        rows: list[tuple[Any, ...]] = []
        newest: dict[tuple[int, int | None], tuple[Any, ...]] = {}
        for place, each in zip(places, records, strict=True):
            if (of := each.origin) is None:
                continue
            rows.append((place, of.idx, of.position))
            if (it := each.outcome) is not None:
                said = (it.value, it.number, it.observed_at_us, each.observed_at_us)
                newest[of.idx, of.position] = (of.idx, of.position, place, *said)
        if rows:
            self._add_derived(connection, rows)
        if newest:
            self._renew(connection, places, list(newest.values()))

    def _renew(self, connection: Connection, places: range, rows: list[tuple[Any, ...]]) -> None:
        """Put these rows in the place of those that their predictions had; set by set, however many there are."""
        within = (derived.c.idx >= places.start, derived.c.idx < places.stop)
        theirs = select(derived.c.of_idx, derived.c.position).where(*within, derived.c.position.is_not(None))
        connection.execute(
            delete(outcome).where(tuple_(outcome.c.prediction_idx, outcome.c.position).in_(theirs))
        )
        self._add_outcomes(connection, rows)
        new = (outcome.c.outcome_idx >= places.start, outcome.c.outcome_idx < places.stop)
        same = (prediction.c.idx == outcome.c.prediction_idx, prediction.c.position == outcome.c.position)
        connection.execute(update(prediction).values(outcome_idx=outcome.c.outcome_idx).where(*new, *same))
