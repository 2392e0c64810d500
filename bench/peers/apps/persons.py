"""What is validated, where a peer validates: pydantic, as its users write it."""

from pydantic import BaseModel


class Person(BaseModel):
    """One row."""

    age: int
    workclass: str | None = None
    education: str
    education_num: int
    marital_status: str
    occupation: str | None = None
    relationship: str
    race: str
    sex: str
    capital_gain: int
    capital_loss: int
    hours_per_week: int
    native_country: str | None = None


class Persons(BaseModel):
    """One request."""

    instances: list[Person]
