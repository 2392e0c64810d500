"""How a search finds its rows without reading everything: which index it walks, and between which places.

An index on equal columns that ends in (idx, position) gives "newest first" by being walked backwards, however long
the ledger is. A search for which there is no such index is split where a column has few values, one walk for each.
What remains (a range of scores, several filters at once) is first counted: the rare is collected and sorted, the
common is met soon enough on any walk back through time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    Subquery,
    and_,
    exists,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)

from db.tables import LARGE, erased, head, outcome, prediction, record

if TYPE_CHECKING:
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from db.lookups import Filter

_RARE = 20_000  # index entries: counted in 2 ms, collected and sorted in 15
_FIRST = 400  # of the rare: their rows are looked at before those of all of it
_RECENT = 2_000  # rows that are looked through before a search is split: a millisecond
_FEW = 32  # clients of a search across all of them: one walk each, about a millisecond
_VALUES = (("reference",), ("label",), ("model", "version"))  # that have an index, the most telling first
_LARGE = literal_column(str(LARGE), Integer)  # as the indexes have it: a parameter would say nothing of them
_HIDDEN = frozenset({"reference", "label", "model", "version", "score"})

IS_ERASED = exists().where(erased.c.idx == prediction.c.idx).label("is_erased")  # of one row of a page

OUTCOME = (outcome.c.value, outcome.c.number)
ITS_OUTCOME = and_(outcome.c.prediction_idx == prediction.c.idx, outcome.c.position == prediction.c.position)

Span = tuple[int | None, tuple[int, int] | None]  # idx above, (idx, position) below; both ends excluded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """What one index answers of a search: the filter's names that it covers, and how to walk it from end to end.

    `newest_first`: every entry of the walk is in the order of a page. `beside` are the places that are in another
    index.
    """

    covers: frozenset[str]
    conditions: Sequence[ColumnElement[bool]]
    order: Sequence[ColumnElement[Any]]
    newest_first: bool = False
    beside: Select[int, int] | None = None

    def places(self, limit: int) -> Select[int, int]:
        """Select the places of so many entries at most, in each index."""
        c = prediction.c
        own = select(c.idx, c.position).where(*self.conditions).order_by(*self.order).limit(limit).subquery()
        if self.beside is None:
            return _of(own)
        others = self.beside.limit(limit).subquery()
        return _of(union_all(_of(own), _of(others)).subquery())


def branches(connection: Connection, wanted: Filter) -> list[Filter]:
    """Split a search where an index gives newest first only for each value of another column apart."""
    found = [wanted]
    if wanted.version is not None and wanted.model is None:
        models = _values(connection, prediction.c.model)
        found = [replace(each, model=model) for each in found for model in models]
    if wanted.model is not None and wanted.version is None and wanted.reference is None:
        versions = _values(connection, prediction.c.version, prediction.c.model == wanted.model)
        found = [replace(each, version=version) for each in found for version in versions]
    return [part for each in found for part in _by_client(connection, each)]


def _by_client(connection: Connection, wanted: Filter) -> list[Filter]:
    """Split a search across clients where that puts what is too much to be sorted in order."""
    given = [names for names in _VALUES if all(getattr(wanted, name) is not None for name in names)]
    alone = len(given) == 1 and wanted.score_min is None and wanted.score_max is None
    if wanted.client_id is not None or not alone or _is_rare(connection, next(_walks(connection, wanted))):
        return [wanted]
    clients = _values(connection, prediction.c.client_id)
    return [replace(wanted, client_id=client) for client in clients] if len(clients) <= _FEW else [wanted]


def _values(connection: Connection, column: Column[str], *given: ColumnElement[bool]) -> list[str]:
    """Read the different values of an index column, one seek each, however many rows there are."""
    found = select(func.min(column).label("value")).where(*given).cte("found", recursive=True)
    following = select(func.min(column)).where(*given, column > found.c.value).scalar_subquery()
    found = found.union_all(select(following).where(found.c.value.is_not(None)))
    return list(connection.scalars(select(found.c.value).where(found.c.value.is_not(None))))


def span(connection: Connection, wanted: Filter, after: tuple[int, int] | None) -> Span:
    """Turn times and the end of the last page into the places that a walk may stay between.

    Records are appended in nearly the order of their times: `lag_us` is the most that any came behind the latest
    before it. So all that stands before a record older than `from_us` by more than that is older than `from_us`
    too, and all that stands behind one younger than `to_us` by more than that is younger.
    """
    idx, time = record.c.idx, record.c.observed_at_us
    lag = select(head.c.lag_us).where(head.c.id == 1).scalar_subquery()
    above, below = None, after
    if wanted.from_us is not None:
        older = select(idx).where(time < wanted.from_us - lag).order_by(time.desc(), idx.desc())
        above = connection.scalar(older.limit(1))
    if wanted.to_us is not None:
        younger = select(idx).where(time > wanted.to_us + lag).order_by(time, idx)
        end = connection.scalar(younger.limit(1))
        if end is not None and (below is None or (end, 0) < below):
            below = (end, 0)
    return above, below


def recent(connection: Connection, wanted: Filter, within: Span, limit: int) -> Sequence[Row[Any]]:
    """Read the page among the newest rows, if a search that would be split finds all of it there; else nothing.

    What is common is there: one short walk, where a split one is a walk for every version and client.
    """
    given = {each.name for each in fields(wanted) if getattr(wanted, each.name) is not None}
    if not given & {"model", "version", "label"} or given - {"model", "version", "label", "from_us", "to_us"}:
        return []
    place = (prediction.c.idx.desc(), prediction.c.position.desc())
    newest = _between(select(prediction), within).order_by(*place).limit(_RECENT).subquery()
    found = _page(
        connection, select(newest.c.idx, newest.c.position).where(*_conditions(wanted, (), newest.c)), limit
    )
    return found if len(found) == limit else []


def page(connection: Connection, wanted: Filter, within: Span, limit: int) -> Sequence[Row[Any]]:
    """Read one page of one branch."""
    walks = list(_walks(connection, wanted))
    rare = next((walk for walk in walks if _is_rare(connection, walk)), None) if _is_split(walks) else None
    if rare is None:
        return _page(connection, _between(_common(wanted, walks), within), limit)
    entries = _between(rare.places(_RARE), within)
    if rare.covers >= {each.name for each in fields(wanted) if getattr(wanted, each.name) is not None}:
        return _page(connection, entries, limit)
    c = entries.selected_columns
    newest = entries.order_by(c.idx.desc(), c.position.desc()).limit(_FIRST)
    found = _matching(connection, wanted, newest.subquery(), limit)
    return found if len(found) == limit else _matching(connection, wanted, entries.subquery(), limit)


def _matching(connection: Connection, wanted: Filter, places: Subquery, limit: int) -> Sequence[Row[Any]]:
    """Read a page of those of the places whose rows, each somewhere else in the file, match.

    Each row is found by its place: PostgreSQL, before it has counted a young table, would walk another index for each.
    """
    hidden = _HIDDEN | {"client_id"}
    entries = _of(places).join(prediction, _same(places)).where(*_conditions(wanted, hidden))
    return _page(connection, entries, limit)


def _of(places: Subquery) -> Select[int, int]:
    return select(places.c.idx, places.c.position)


def _is_split(walks: Sequence[_Walk]) -> bool:
    """Say whether walks do not give a page by themselves: none but one in the order of a page does."""
    return not (len(walks) == 1 and walks[0].newest_first)


def _between(entries: Select[*tuple[Any, ...]], within: Span) -> Select[*tuple[Any, ...]]:
    c, (above, below) = entries.selected_columns, within
    if above is not None:
        entries = entries.where(c.idx > above)
    if below is not None:  # one upper bound only: given two, SQLite takes a worse index
        entries = entries.where(tuple_(c.idx, c.position) < tuple_(literal(below[0]), literal(below[1])))
    return entries


def _page(connection: Connection, entries: Select[*tuple[Any, ...]], limit: int) -> Sequence[Row[Any]]:
    """Read the rows of the first entries: the rest of each is joined to the page, not to everything before it."""
    c = entries.selected_columns
    found = entries.order_by(c.idx.desc(), c.position.desc()).limit(limit).subquery()
    rows = (
        select(prediction, record.c.id, IS_ERASED, *OUTCOME).select_from(found).join(prediction, _same(found))
    )
    rows = rows.join(record, record.c.idx == found.c.idx).outerjoin(outcome, ITS_OUTCOME)
    return connection.execute(rows.order_by(found.c.idx.desc(), found.c.position.desc())).all()


def _common(wanted: Filter, walks: Sequence[_Walk]) -> Select[int, int]:
    """Select the places of all matches by walking back through time, as far as an index in that order goes."""
    ordered = next((walk.covers for walk in walks if walk.newest_first), frozenset[str]())
    places = select(prediction.c.idx, prediction.c.position)
    return places.where(*_conditions(wanted, _HIDDEN - ordered))


def _walks(connection: Connection, wanted: Filter) -> Iterator[_Walk]:
    """List what single indexes say about a search, the most telling first.

    Ordering by the index and limiting keeps both databases from planning anything else than to walk it.
    """
    c, place = prediction.c, (prediction.c.idx, prediction.c.position)
    mine = [] if wanted.client_id is None else [c.client_id == wanted.client_id]
    whose = {"client_id"} if mine else set[str]()
    for names in _VALUES:
        if all(getattr(wanted, name) is not None for name in names):
            yield _Walk(
                covers=frozenset({*names, *whose}),
                conditions=[*(c[name] == getattr(wanted, name) for name in names), *mine],
                order=[*(c[name] for name in names), c.client_id, *place],
                newest_first=bool(mine),
            )
    if wanted.has_outcome:
        conditions = [c.outcome_idx.is_not(None), *mine]
        covers = frozenset({"has_outcome", *whose})
        yield _Walk(
            covers=covers, conditions=conditions, order=[c.client_id, *place], newest_first=bool(mine)
        )
    if in_range := _range(c.score, wanted.score_min, wanted.score_max):
        covers = frozenset({"score_min", "score_max", *whose})
        conditions, beside = [*in_range, c.position < _LARGE], _in_large(wanted)
        if mine:
            order = [c.client_id, c.score, *place]
            yield _Walk(covers=covers, conditions=[*mine, *conditions], order=order, beside=beside)
        elif len(clients := _values(connection, c.client_id)) <= _FEW:
            conditions = [c.client_id.in_(clients), *conditions]
            yield _Walk(covers=covers, conditions=conditions, order=[], beside=beside)


def _in_large(wanted: Filter) -> Select[int, int]:
    """Select the places of a range of scores beyond the first rows of large requests: one seek for each of these."""
    large, c = prediction.alias("large"), prediction.c
    mine = [] if wanted.client_id is None else [large.c.client_id == wanted.client_id]
    # Of expressions there is no index: a database can only go from the large request to its scores.
    its = (c.client_id == large.c.client_id.concat(""), c.idx == large.c.idx + 0, c.position >= _LARGE)
    found = select(c.idx, c.position).select_from(large).join(prediction, and_(*its))
    return found.where(
        large.c.position == _LARGE, *mine, *_range(c.score, wanted.score_min, wanted.score_max)
    )


def _is_rare(connection: Connection, walk: _Walk) -> bool:
    """Count the entries of a walk, but not for long."""
    entries = walk.places(_RARE + 1).limit(_RARE + 1).subquery()
    return connection.scalars(select(func.count()).select_from(entries)).one() <= _RARE


def _same(found: Subquery) -> ColumnElement[bool]:
    return and_(prediction.c.idx == found.c.idx, prediction.c.position == found.c.position)


def _conditions(
    wanted: Filter, hidden: Collection[str], c: ReadOnlyColumnCollection[str, Any] = prediction.c
) -> list[ColumnElement[bool]]:
    """Spell the whole filter in SQL: exact comparison only, in which case and accents count.

    A hidden column is compared as an expression, for which there is no index: a walk must not be left for it.
    """
    found = [
        (c[name].concat("") if name in hidden else c[name]) == getattr(wanted, name)
        for name in ("client_id", "model", "version", "reference", "label")
        if getattr(wanted, name) is not None
    ]
    score = c.score + literal(0.0) if "score" in hidden else c.score
    found += _range(score, wanted.score_min, wanted.score_max)
    found += _range(c.observed_at_us, wanted.from_us, wanted.to_us)
    if wanted.has_outcome is not None:
        found.append(c.outcome_idx.is_not(None) if wanted.has_outcome else c.outcome_idx.is_(None))
    return found


def _range(column: ColumnElement[Any], low: float | None, high: float | None) -> list[ColumnElement[bool]]:
    return [*([column >= low] if low is not None else []), *([column <= high] if high is not None else [])]
