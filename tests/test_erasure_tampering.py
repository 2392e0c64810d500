"""A deletion cannot be disguised as an erasure, nor an erasure be undone, without being found."""

from __future__ import annotations

import pytest

from api.outside import TAMPERED, exit_code
from db.auditing import Cause
from db.records import EVERYTHING, kept, mask
from tests import auditor
from tests.ledgers import DATABASES
from tests.tampering import SIZE, Copies, Rigged, another

PARTLY, WHOLLY, OUTPUT_ONLY = 100, 101, 102  # what tests/tampering.py erased of whom
WHOLE = 8  # a record of which nothing was erased
ERASURE = SIZE - 5  # the record of the erasure of PARTLY


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.fixture(params=DATABASES)
def rigged(request: pytest.FixtureRequest, copies: Copies) -> Rigged:
    """Take a fresh copy."""
    return copies.new(request.param)


def causes(rigged: Rigged, at: int) -> set[Cause]:
    """Say what is found at one record; the checker that shares nothing with us has to find something, too."""
    verdict = rigged.audit()
    assert exit_code(verdict) == TAMPERED
    assert auditor.audit(rigged.url) != []
    return {each.cause for each in verdict.findings if each.at == at}


def its(idx: int) -> str:
    """Name the payload of the record at a place, in SQL."""
    return f"record_id = (SELECT id FROM record WHERE idx = {idx})"


def test_the_erasure_is_where_these_tests_expect_it(rigged: Rigged) -> None:
    """The ledger has one erasure of each sort, and verifies."""
    rows = rigged.run("SELECT idx, erasure_idx, fields FROM erased ORDER BY idx")

    default = mask(("input", "output", "meta"))
    assert rows == [
        (PARTLY, ERASURE, default),
        (WHOLLY, ERASURE + 1, EVERYTHING),
        (OUTPUT_ONLY, ERASURE + 2, mask(["output"])),
    ]
    assert rigged.audit().findings == ()
    assert auditor.audit(rigged.url) == []


def test_a_deletion_without_an_erasure_is_found(rigged: Rigged) -> None:
    """E2: a payload that is gone, or one field of it with its salt, and no record that says why."""
    rigged.run(f"DELETE FROM payload WHERE {its(WHOLE)}")
    assert causes(rigged, WHOLE) == {Cause.PAYLOAD}

    secret = rigged.value(f"SELECT secret FROM payload WHERE {its(9)}")
    rigged.run((f"UPDATE payload SET output = ?, secret = ? WHERE {its(9)}", [b"", kept(secret, 2)]))
    assert Cause.ERASURE in causes(rigged, 9)


def test_more_deleted_than_was_erased_is_found(rigged: Rigged) -> None:
    """E2: an erasure of some fields is no cover for the others."""
    rigged.run(f"DELETE FROM payload WHERE {its(PARTLY)}")

    assert causes(rigged, PARTLY) == {Cause.PAYLOAD}


@pytest.mark.parametrize("erased_row", ["kept", "deleted"])
def test_an_erasure_that_did_not_happen_is_found(rigged: Rigged, erased_row: str) -> None:
    """E3: promised, and still present, whether or not the table says that it is gone."""
    columns = "input, output, actor, meta, secret"
    rigged.run(
        f"DELETE FROM payload WHERE {its(PARTLY)}",
        f"INSERT INTO payload (record_id, {columns}) SELECT (SELECT id FROM record WHERE idx = {PARTLY}), {columns}"
        f" FROM payload WHERE {its(WHOLE)}",
    )
    if erased_row == "deleted":
        rigged.run(f"DELETE FROM erased WHERE idx = {PARTLY}")

    found = {(each.at, each.cause) for each in rigged.audit().findings}
    assert (PARTLY if erased_row == "kept" else ERASURE, Cause.ERASURE) in found
    assert causes(rigged, ERASURE) or erased_row == "kept"


@pytest.mark.parametrize("by", [ERASURE, WHOLE + 1, WHOLE - 1, SIZE + 7])
def test_an_erasure_forged_in_the_table_is_found(rigged: Rigged, by: int) -> None:
    """E4: a perfect deletion, in the name of an erasure of others, another kind of record, an earlier one, or none."""
    bits = mask(("input", "output", "meta"))
    secret = rigged.value(f"SELECT secret FROM payload WHERE {its(WHOLE)}")
    rigged.run(
        (
            f"UPDATE payload SET input = ?, output = ?, meta = ?, secret = ? WHERE {its(WHOLE)}",
            [b"", b"", b"", kept(secret, bits)],
        ),
        f"UPDATE prediction SET reference = NULL, label = NULL, score = NULL WHERE idx = {WHOLE}",
        f"INSERT INTO erased (idx, erasure_idx, fields) VALUES ({WHOLE}, {by}, {bits})",
    )

    assert causes(rigged, ERASURE if by == ERASURE else WHOLE) == {Cause.ERASURE}


def test_an_erasure_forged_as_a_record_is_found(rigged: Rigged) -> None:
    """E4: a record written by SQL stands beyond the head, whatever it says."""
    forged = another(rigged.value(f"SELECT id FROM record WHERE idx = {ERASURE}"), "")
    columns = "kind, observed_at_us, client_id, model, version, digest, status, leaf"
    held = "input, output, actor, meta, secret"
    rigged.run(
        (
            f"INSERT INTO record (idx, id, {columns}) SELECT {SIZE}, ?, {columns} FROM record WHERE idx = {ERASURE}",
            [forged],
        ),
        (f"INSERT INTO payload SELECT ?, {held} FROM payload WHERE {its(ERASURE)}", [forged]),
        f"DELETE FROM payload WHERE {its(WHOLE)}",
        f"INSERT INTO erased (idx, erasure_idx, fields) VALUES ({WHOLE}, {SIZE}, {EVERYTHING})",
    )

    assert Cause.ORDER in causes(rigged, SIZE)


def test_an_erasure_of_a_record_that_is_not_there_is_found(rigged: Rigged) -> None:
    """Rows that the walk cannot meet are counted."""
    rigged.run(f"INSERT INTO erased (idx, erasure_idx, fields) VALUES ({SIZE + 1}, {SIZE + 2}, 1)")

    assert causes(rigged, None) == {Cause.ERASURE}  # type: ignore[arg-type]  # at none of the records


@pytest.mark.parametrize("idx", [PARTLY, WHOLLY, OUTPUT_ONLY])
def test_every_column_of_an_erased_record_is_covered(rigged: Rigged, idx: int) -> None:
    """T3: what no payload vouches for any more, the record of the erasure does."""
    places = {
        "record": f"idx = {idx}",
        "erased": f"idx = {idx}",
        "prediction": f"idx = {idx} AND position = 1",
        "payload": its(idx),
    }
    silent = set()
    for (table, column), declared in rigged.columns().items():
        names = [each for of, each in rigged.columns() if of == table]
        where = places.get(table, "1 = 0")
        for values in rigged.run(f"SELECT {', '.join(names)} FROM {table} WHERE {where}"):
            row = dict(zip(names, values, strict=True))
            changed = another(row[column], declared)
            rigged.change(table, row, column, changed)
            if not rigged.audit().findings:
                silent.add(f"{table}.{column}")
            rigged.change(table, row | {column: changed}, column, row[column])

    assert silent == set()
    assert rigged.audit().findings == ()


def test_a_row_of_lookups_too_few_is_found(rigged: Rigged) -> None:
    """How many predictions an erased record held, its erasure says."""
    rigged.run(f"DELETE FROM prediction WHERE idx = {WHOLLY} AND position = 1")

    assert causes(rigged, ERASURE + 1) == {Cause.ERASURE}
