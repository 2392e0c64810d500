"""FastAPI around the pickle; with BENCH_DATABASE, every request is committed by SQLAlchemy before it is answered."""

import json
import os

import income
from fastapi import FastAPI
from persons import Persons
from sqlalchemy import JSON, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = FastAPI()
model = income.load()


class Base(DeclarativeBase):
    """SQLAlchemy's own way to begin."""


class Prediction(Base):
    """What one keeps of a request."""

    __tablename__ = "prediction"
    id: Mapped[int] = mapped_column(primary_key=True)
    request: Mapped[str] = mapped_column(JSON)
    answer: Mapped[str] = mapped_column(JSON)


engine = None
if "BENCH_DATABASE" in os.environ:
    engine = create_engine(os.environ["BENCH_DATABASE"], connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def durable(connection, _record):
        """Give SQLite the mode that OnRecord uses, too: every commit on disk."""
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    Base.metadata.create_all(engine)


@app.post("/predict")
def predict(persons: Persons) -> dict[str, object]:
    """Answer a request, recorded or not."""
    instances = [person.model_dump() for person in persons.instances]
    answer: dict[str, object] = {"predictions": income.answers(model, instances)}
    if engine is not None:
        with Session(engine) as session, session.begin():
            session.add(Prediction(request=json.dumps(instances), answer=json.dumps(answer)))
    return answer
