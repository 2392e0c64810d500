"""Records as the census model makes them, and the ledger that the real one is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, bindparam, select, update

from db.records import Appended, Kind, PredictionRow, Receipt, Record, new_id
from db.rows import Rows
from db.tables import head

START_US = 1_795_176_000_000_000
INSTANCE = {
    "age": 39, "workclass": "State-gov", "education": "Bachelors", "education_num": 13,
    "marital_status": "Never-married", "occupation": "Adm-clerical", "relationship": "Not-in-family",
    "race": "White", "sex": "Male", "capital_gain": 2174, "capital_loss": 0, "hours_per_week": 40,
    "native_country": "United-States",
}  # fmt: skip
_MADE_BY = {"runtime": "pickle", "libraries": {"numpy": "2", "scikit-learn": "1"}, "process": {"python": "3"}}
_HEAD = select(head.c.size, head.c.latest_us).where(head.c.id == 1).with_for_update()
_ADVANCE = update(head).where(head.c.id == 1).values(size=bindparam("new"), latest_us=bindparam("latest"))


def record(number: int, client: str = "bench", version: str = "1", reference: str | None = None) -> Record:
    """Make the record of one request with one row; scores are spread, and columns say what the bytes say."""
    at_us = START_US + number * 250
    record_id = new_id(at_us)
    score = number * 7919 % 100_003 / 100_003
    label = ">50K" if score > 0.5 else "<=50K"
    named = {} if reference is None else {"reference": reference}
    answer = {"id": f"{record_id}.0", **named, "label": label, "probability": score, "warnings": []}
    content = {"record": str(record_id), "model": "income", "version": version, "predictions": [answer]}
    return Record(
        id=record_id,
        kind=Kind.PREDICTION,
        observed_at_us=at_us,
        client_id=client,
        model="income",
        version=version,
        digest=bytes(32),
        status=201,
        input=orjson.dumps({"instances": [{**INSTANCE, **named}]}),
        output=orjson.dumps(content),
        actor=orjson.dumps({"jti": "0192f0c1-0000-7000-8000-000000000000", "client_id": client}),
        meta=orjson.dumps({"model": "income", "version": version, **_MADE_BY, "received_at_us": at_us}),
        rows=(PredictionRow(position=0, reference=reference, label=label, score=score),),
    )


class Plain:
    """The same rows in the same tables by the same statements: no leaf, secret, tree, seal or receipt."""

    def __init__(self, engine: Engine, *_: object, **__: object) -> None:
        self._engine, self._rows = engine, Rows(engine)

    def check(self) -> None:
        """There is nothing to check."""

    def note(self) -> bool:
        """There is nothing to sign."""
        return False

    def append(self, records: Sequence[Record]) -> Appended:
        """Store a group under the same lock, in one transaction, and number it."""
        nothing = [b""] * len(records)
        with self._engine.connect() as connection, connection.begin():
            self._rows.add_payloads(connection, records, nothing)
            size, latest = connection.execute(_HEAD).one()
            places = range(size, size + len(records))
            self._rows.add_records(connection, places, records, nothing)
            connection.execute(
                _ADVANCE, {"new": places.stop, "latest": max(latest, records[-1].observed_at_us)}
            )
        receipts: list[Receipt] = []
        return Appended(places=list(places), receipts=receipts)

    def beside(self, work: Callable[[Connection], Any]) -> Any:
        """Let the engine tidy up as it does."""
        with self._engine.connect() as connection, connection.begin():
            return work(connection)

    def change(self, record: Record, apply: Callable[[Any], None]) -> Appended:
        """Not what is measured."""
        raise NotImplementedError
