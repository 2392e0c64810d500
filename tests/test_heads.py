"""Who has the database and the public key, and nothing else, still finds a head that is not that of its records."""

from __future__ import annotations

import pytest

from db.auditing import Cause
from tests.ledgers import DATABASES
from tests.tampering import Copies


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.mark.parametrize("kind", DATABASES)
def test_a_head_is_held_against_the_records_without_its_key(copies: Copies, kind: str) -> None:
    """T10: the mac would give away every change; without its key each column is compared with what it should be."""
    rigged = copies.new(kind)
    for column, value in (("root", bytes(32)), ("frontier", bytes(8)), ("latest_us", 1), ("lag_us", 1)):
        ((before,),) = rigged.run(f"SELECT {column} FROM head")
        rigged.run((f"UPDATE head SET {column} = ?", [value]))

        (found,) = rigged.audit(mac_key=None).findings
        assert (found.at, found.cause, column in found.detail) == (None, Cause.HEAD, True)

        rigged.run((f"UPDATE head SET {column} = ?", [before]))
    assert rigged.audit(mac_key=None).findings == ()
