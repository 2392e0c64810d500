"""How much a model is used: its predictions, counted along one index and no further than matters."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from db.engine import reading
from db.tables import prediction

# Counting is linear in what is counted: 10,000 entries of an index are read in about a millisecond.
MOST = 10_000


def count(engine: Engine, model: str, most: int = MOST) -> int:
    """Count the predictions of a model that are kept, of all clients; `most + 1` stands for any more."""
    some = select(prediction.c.idx).where(prediction.c.model == model).limit(most + 1).subquery()
    with reading(engine) as connection:
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())
