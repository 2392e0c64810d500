"""What an auditor enters into the console: what is wrong is named where it stands, and what is found is a file."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from tests.pages import Person
from tests.service import Service
from tests.test_console_rooms import rows

pytestmark = pytest.mark.parametrize("service", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def person(service: Service) -> Iterator[Person]:
    """Stand in front of the console as who may do everything; nothing is changed here."""
    with Person(service) as someone:
        someone.sign_in("admin")
        yield someone


@pytest.mark.parametrize(
    ("room", "field", "said"),
    [
        ("?score_min=x", "score_min", "Score from is not a finite number"),
        ("?from=yesterday", "from", "From must be a time, such as 2026-11-20T09:30"),
        ("/events?to=soon", "to", "Before must be a time, such as 2026-11-20T09:30"),
        ("/events?kind=odd", "kind", "Kind is not one of"),
        ("/models/income/drift?version=99", "version", "Version is none of this model"),
        ("/models/income/drift?from=x", "from", "From must be a time, such as 2026-11-20T09:30"),
        ("/models/income/performance?version=99", "version", "Version is none of this model"),
        ("/models/income/performance?by=shoe_size", "by", "Groups by is no feature of income"),
    ],
)
def test_a_wrong_condition_is_named_above_and_beside_its_field(
    person: Person, room: str, field: str, said: str
) -> None:
    """Under 400, in the summary and beside the field, which keeps what was entered; the form is still there."""
    page = person.look(f"/console{room}")
    said = html.escape(said, quote=True)

    assert page.status_code == 400
    assert f'<a href="#{field}">{said}' in page.text
    assert re.search(rf'id="{field}-error">.*{re.escape(said)}', page.text)
    assert re.search(rf'name="{field}"', page.text)


def test_what_signed_the_ledger_and_what_agrees_with_it_are_files(person: Person) -> None:
    """Both tables of the ledger's page lead to their own file, with the rows that stand there."""
    page = person.look("/console/ledger").text
    signatures, outside = (
        rows(person.look(f"/console/ledger?table={name}&format=csv")) for name in ("signatures", "outside")
    )

    for name in ("signatures", "outside"):
        assert f"table={name}&amp;format=csv" in page
    assert signatures[0] == ["name", "who", "key", "at"]
    assert signatures[1][1] == "the ledger itself" and signatures[1][2] in page
    assert outside[1][0] == "anchor.log" and outside[1][3] == "agrees"
