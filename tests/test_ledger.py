"""Whoever changes the database without the key is found, and what was changed is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.outside import NOT_ANCHORED, TAMPERED, VERIFIED, exit_code
from db.auditing import Cause, Verdict
from db.records import commitment, salts
from tests.ledgers import DATABASES, SEAL
from tests.tampering import LET_GO, MADE_FROM, NOTED, SIZE, Copies, Rigged, another, signed_by_another

VICTIM = 8  # a prediction with a note before and after it
NOT_FOUND = {
    "alembic_version.version_num": "another schema is not read at all: `verify` refuses with exit code 2",
    "client.last_used_at_us": "what operators are shown, to the minute; no record says it and no answer depends on it",
    "client_secret.id": "the number of a row, which nothing but the order of two secrets depends on",
}
NO_LEDGER = {"security_event"}  # operational; no record vouches for it
CAUSES = {  # which byte of a leaf was flipped, and what gives it away first
    0: {Cause.LEAF},
    1: {Cause.LEAF, Cause.COLUMN},
    2: {Cause.COLUMN},
    60: {Cause.ROOT},  # the runtime's digest stands nowhere else
    92: {Cause.COMMITMENT},
}


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.fixture(params=DATABASES)
def rigged(request: pytest.FixtureRequest, copies: Copies) -> Rigged:
    """Take a fresh copy."""
    return copies.new(request.param)


@pytest.fixture(scope="module", params=DATABASES)
def mended(request: pytest.FixtureRequest, copies: Copies) -> Iterator[Rigged]:
    """Take one copy for many small changes, each of which is taken back."""
    copy = copies.new(request.param)
    yield copy
    assert copy.audit().findings == ()


def first(verdict: Verdict) -> tuple[int | None, Cause]:
    """Say where and why the verdict is what it is."""
    assert exit_code(verdict) == TAMPERED
    return verdict.findings[0].at, verdict.findings[0].cause


def flipped(value: bytes, position: int) -> bytes:
    """Change one bit of one byte."""
    return value[:position] + bytes([value[position] ^ 4]) + value[position + 1 :]


def test_a_sound_ledger_is_verified(rigged: Rigged) -> None:
    """Nothing is found in what nobody changed, and everything was looked at."""
    verdict = rigged.audit()

    assert (exit_code(verdict), verdict.findings) == (VERIFIED, ())
    assert (verdict.size, verdict.records, verdict.payloads) == (SIZE, SIZE, SIZE - 1)
    assert (verdict.signed, verdict.anchored, verdict.anchors) == (SIZE, SIZE, {"outside": 1})
    assert (verdict.predictions, verdict.erased) == (2 * (SIZE - 6 - LET_GO - MADE_FROM), 3)
    assert verdict.outcomes == 2
    assert verdict.root == rigged.value("SELECT root FROM head")


def test_without_an_anchor_nothing_is_called_verified(rigged: Rigged) -> None:
    """What is consistent in itself may still be an older state of itself."""
    assert exit_code(rigged.audit(anchored=False)) == NOT_ANCHORED


@pytest.mark.parametrize("position", [*range(0, 220, 13), 1, 2, 3, 60, 91, 92, 219])
def test_one_bit_of_a_leaf_is_found(mended: Rigged, position: int) -> None:
    """T1: the record is named, and the column or commitment that does not fit it."""
    leaf = mended.value(f"SELECT leaf FROM record WHERE idx = {VICTIM}")
    put = f"UPDATE record SET leaf = ? WHERE idx = {VICTIM}"
    mended.run((put, [flipped(leaf, position)]))
    try:
        at, cause = first(mended.audit())
    finally:
        mended.run((put, [leaf]))

    assert at == VICTIM
    assert cause in CAUSES[max(start for start in CAUSES if start <= position)]


@pytest.mark.parametrize("column", ["input", "output", "actor", "meta", "secret"])
def test_one_bit_of_a_payload_is_found(mended: Rigged, column: str) -> None:
    """T1: at every position that was tried, the commitment is what no longer holds."""
    its = f"record_id = (SELECT id FROM record WHERE idx = {VICTIM})"
    put, found = f"UPDATE payload SET {column} = ? WHERE {its}", set()
    content = mended.value(f"SELECT {column} FROM payload WHERE {its}")
    try:
        for position in range(0, len(content), max(1, len(content) // 8)):
            mended.run((put, [flipped(content, position)]))
            found.add(first(mended.audit()))
    finally:
        mended.run((put, [content]))

    assert found == {(VICTIM, Cause.COMMITMENT)}


def test_every_column_of_every_table_is_covered(mended: Rigged) -> None:
    """T3: whatever column the catalogue knows, changed in a row of its table, makes the audit fail."""
    silent = set()
    known = {key: declared for key, declared in mended.columns().items() if key[0] not in NO_LEDGER}
    for (table, column), declared in known.items():
        row = mended.row(table)
        changed = another(row[column], declared)
        mended.change(table, row, column, changed)
        if not mended.audit().findings:
            silent.add(f"{table}.{column}")
        mended.change(table, row | {column: changed}, column, row[column])

    assert silent == set(NOT_FOUND)


@pytest.mark.parametrize("with_rows", [False, True])
def test_swapped_places_are_found(rigged: Rigged, with_rows: bool) -> None:
    """T2: two records that changed places are found at the first of the two, also where lookups agree."""
    for table in ("record", "prediction") if with_rows else ("record",):
        for before, after in ((VICTIM, -5), (10, VICTIM), (-5, 10)):
            rigged.run(f"UPDATE {table} SET idx = {after} WHERE idx = {before}")

    assert first(rigged.audit()) == (VICTIM, Cause.ROOT if with_rows else Cause.PREDICTION)


def test_swapped_payloads_are_found(rigged: Rigged) -> None:
    """T2: a payload under another record's id is not what that record commits to."""
    one, two = (rigged.value(f"SELECT id FROM record WHERE idx = {idx}") for idx in (VICTIM, 10))
    spare = another(one, "")
    put = "UPDATE payload SET record_id = ? WHERE record_id = ?"
    rigged.run((put, [spare, one]), (put, [one, two]), (put, [two, spare]))

    assert first(rigged.audit()) == (VICTIM, Cause.COMMITMENT)


def test_swapped_ids_are_found(rigged: Rigged) -> None:
    """T2: the leaf knows whose it is."""
    one, two = (rigged.value(f"SELECT id FROM record WHERE idx = {idx}") for idx in (VICTIM, 10))
    put = "UPDATE record SET id = ? WHERE idx = ?"
    rigged.run((put, [another(one, ""), VICTIM]), (put, [one, 10]), (put, [two, VICTIM]))

    assert first(rigged.audit()) == (VICTIM, Cause.COLUMN)


@pytest.mark.parametrize("idx", [0, VICTIM, SIZE - 1])
def test_a_deleted_record_is_found(rigged: Rigged, idx: int) -> None:
    """T4: its place stays empty, wherever it was."""
    _delete(rigged, idx)

    assert first(rigged.audit()) == (idx, Cause.ORDER)


def test_a_deleted_group_is_found(rigged: Rigged) -> None:
    """T4: so is a whole commit."""
    for idx in range(NOTED, NOTED + 48):
        _delete(rigged, idx)

    assert first(rigged.audit()) == (NOTED, Cause.ORDER)


def test_a_deleted_payload_is_found(rigged: Rigged) -> None:
    """T4: a payload may only be missing if its erasure is on record (E2)."""
    rigged.run(f"DELETE FROM payload WHERE record_id = (SELECT id FROM record WHERE idx = {VICTIM})")

    assert first(rigged.audit()) == (VICTIM, Cause.PAYLOAD)


def test_closing_the_gap_does_not_help(rigged: Rigged) -> None:
    """T4: deleted, and everything behind it renumbered, with a head that knows one less."""
    _delete(rigged, VICTIM)
    _move(rigged, VICTIM, -1)
    rigged.run(f"UPDATE head SET size = {SIZE - 1}")

    assert first(rigged.audit()) == (VICTIM, Cause.ROOT)


def _delete(rigged: Rigged, idx: int) -> None:
    rigged.run(
        f"DELETE FROM prediction WHERE idx = {idx}",
        f"DELETE FROM payload WHERE record_id = (SELECT id FROM record WHERE idx = {idx})",
        f"DELETE FROM record WHERE idx = {idx}",
    )


def _move(rigged: Rigged, start: int, by: int) -> None:
    for table in ("record", "prediction"):  # far away and back: no two rows may have one place in between
        rigged.run(
            f"UPDATE {table} SET idx = idx + 10000 WHERE idx >= {start}",
            f"UPDATE {table} SET idx = idx - 10000 + {by} WHERE idx >= 10000",
        )


@pytest.mark.parametrize("place", [VICTIM, SIZE])
def test_an_inserted_record_is_found(rigged: Rigged, place: int) -> None:
    """T5: a genuine record repeated under a new id, in the middle or beyond the head."""
    _move(rigged, place, 1)
    columns = "kind, observed_at_us, client_id, model, version, digest, status, leaf"
    forged = another(rigged.value("SELECT id FROM record WHERE idx = 7"), "")
    copied = f"INSERT INTO record (idx, id, {columns}) SELECT {place}, ?, {columns} FROM record WHERE idx = 7"
    held = "input, output, actor, meta, secret"
    paid = f"INSERT INTO payload (record_id, {held}) SELECT ?, {held} FROM payload"
    rigged.run(
        (copied, [forged]), (f"{paid} WHERE record_id = (SELECT id FROM record WHERE idx = 7)", [forged])
    )

    assert first(rigged.audit()) == (place, Cause.COLUMN if place < SIZE else Cause.ORDER)


def test_a_restored_backup_is_found_by_what_was_kept_outside(rigged: Rigged, copies: Copies) -> None:
    """T6: everything in an old state agrees; only an anchor knows that there was more."""
    grown = copies.copy(rigged).grow(5)
    restored = Rigged(rigged.url, grown.anchors)

    assert first(restored.audit()) == (SIZE, Cause.ANCHOR)
    assert exit_code(restored.audit(anchored=False)) == NOT_ANCHORED


def test_growing_past_what_was_lost_does_not_help(rigged: Rigged, copies: Copies) -> None:
    """T7: a ledger that was rolled back and then outgrew the anchor has another history."""
    anchors = copies.copy(rigged).grow(5).anchors
    regrown = rigged.grow(20)

    assert exit_code(regrown.audit()) == VERIFIED
    assert first(Rigged(regrown.url, anchors).audit()) == (SIZE, Cause.ANCHOR)


def _rewritten(rigged: Rigged) -> None:
    """Change an answer and make everything that needs no key fit it again."""
    row = rigged.run(
        "SELECT r.id, r.leaf, p.secret, p.output FROM record r JOIN payload p ON p.record_id = r.id"
        f" WHERE r.idx = {VICTIM}"
    )[0]
    output = row[3].replace(b"0.25", b"0.26")
    leaf = row[1][:124] + commitment(salts(row[2])["output"], "output", output) + row[1][156:]
    rigged.run(
        (f"UPDATE record SET leaf = ? WHERE idx = {VICTIM}", [leaf]),
        ("UPDATE payload SET output = ? WHERE record_id = ?", [output, row[0]]),
        (f"UPDATE prediction SET score = ? WHERE idx = {VICTIM} AND position = 0", [0.26]),
    )
    rigged.regrow()


def test_a_rewrite_without_the_key_is_found(rigged: Rigged) -> None:
    """T8: leaf, tiles, frontier and root are computed anew; signatures and the mac cannot be."""
    _rewritten(rigged)

    verdict = rigged.audit(anchored=False)
    assert first(verdict) == (VICTIM, Cause.ROOT)
    assert {each.cause for each in verdict.findings} == {Cause.ROOT, Cause.HEAD}
    rigged.run("DELETE FROM note", "DELETE FROM block")
    assert first(rigged.audit(anchored=False)) == (None, Cause.HEAD)
    assert first(rigged.audit(mac_key=None))[1] == Cause.ANCHOR


def test_an_older_head_is_found(rigged: Rigged) -> None:
    """T10: a head that was genuine once does not know the records that came after it."""
    columns = "size, latest_us, lag_us, root, frontier, mac"
    old = rigged.run(f"SELECT {columns} FROM head")[0]
    grown = rigged.grow(3)
    grown.run(
        ("UPDATE head SET size=?, latest_us=?, lag_us=?, root=?, frontier=?, mac=?", old),
        f"DELETE FROM note WHERE size > {SIZE}",
    )

    assert first(Rigged(grown.url, rigged.anchors).audit()) == (SIZE, Cause.ORDER)


@pytest.mark.parametrize(
    "how", ["DELETE FROM tile", "UPDATE tile SET hashes = ?", "INSERT INTO tile VALUES (0, 7, ?)"]
)
def test_changed_tiles_are_found(rigged: Rigged, how: str) -> None:
    """T11: tiles are derived, so records stay what they are; the tiles are named."""
    rigged.run((how, [bytes(32)]) if "?" in how else how)

    assert {each.cause for each in rigged.audit().findings} == {Cause.TILE}


def test_a_note_of_another_time_is_found(rigged: Rigged) -> None:
    """T12: a genuine checkpoint in the place of another one."""
    rigged.run(f"UPDATE note SET text = (SELECT text FROM note WHERE size = 9) WHERE size = {SIZE}")

    assert first(rigged.audit()) == (SIZE, Cause.NOTE)


@pytest.mark.parametrize("name", [SEAL.origin, "onrecord.local/other"])
def test_a_note_of_another_key_is_found(rigged: Rigged, name: str) -> None:
    """T12: only the pinned key counts, whatever key the database offers."""
    root = rigged.value("SELECT root FROM head")
    rigged.run((f"UPDATE note SET text = ? WHERE size = {SIZE}", [signed_by_another(name, SIZE, root)]))

    assert first(rigged.audit()) == (SIZE, Cause.NOTE)
