"""What was erased cannot be found in the files any more, nor be guessed from what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from db.engine import StorageRefused, open_reader, vacuum
from db.ledger import Ledger
from db.records import COMMITTED, Record, commitment, read_leaf
from tests import changing, sealed
from tests.changing import erasing
from tests.ledgers import DATABASES, NOON_US, fresh, predicted, writing
from tests.postgres import Postgres, name_of

SUBJECT = "zq-subject-7f3a"
FILLING = 400  # records around the subject's, so that pages are split and filled


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make an empty ledger."""
    return fresh(request.param, request, tmp_path)


def fill(ledger: Ledger) -> list[bytes]:
    """Write the subject's records among others, and return what must never be found again."""
    for start in range(0, FILLING, 40):
        records = [_of(f"other-{number}" if number % 20 else SUBJECT) for number in range(start, start + 40)]
        ledger.append(records)
    return [SUBJECT.encode()]


def _of(reference: str) -> Record:
    return predicted((reference, ">50K", 0.75), (None, "<=50K", 0.25))


def secrets_of(url: str) -> list[bytes]:
    """Read the secrets of the subject's records."""
    query = (
        "SELECT p.secret FROM payload p JOIN record r ON r.id = p.record_id"
        f" JOIN prediction q ON q.idx = r.idx WHERE q.reference = '{SUBJECT}'"
    )
    return [bytes(secret) for (secret,) in sealed.sql(url, query)]


def found_in(paths: Iterator[Path], needles: list[bytes]) -> set[bytes]:
    """Look for bytes in files as they lie on the disk."""
    contents = [path.read_bytes() for path in paths if path.is_file()]
    return {needle for needle in needles if any(needle in content for content in contents)}


def files_of(url: str, request: pytest.FixtureRequest) -> Callable[[], Iterator[Path]]:
    """Name every file of the database but PostgreSQL's WAL, which only recycling empties."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return lambda: file.parent.glob(f"{file.name}*")
    server: Postgres = request.getfixturevalue("postgres")
    query = f"SELECT oid FROM pg_database WHERE datname = '{name_of(url)}'"
    ((oid,),) = server.execute(query)

    def files() -> Iterator[Path]:
        server.execute("CHECKPOINT")
        return (server.data / "base" / str(oid)).iterdir()

    return files


def test_no_byte_of_it_is_left(url: str, request: pytest.FixtureRequest) -> None:
    """E5: after the documented steps neither the reference nor a secret is in any file; before, they were."""
    files = files_of(url, request)
    reader = open_reader(url)
    with writing(url) as ledger:
        needles = fill(ledger)
        needles += secrets_of(url)
        assert len(needles) == 1 + FILLING // 20
        assert found_in(files(), needles) == set(needles)
        done = changing.change(
            ledger,
            reader,
            "erasure.add",
            erasing(reference=SUBJECT) | {"fields": list(COMMITTED)},
            NOON_US + 1,
        )
        assert done.result["records"] == FILLING // 20
        assert ledger.scrub()
        if url.startswith("sqlite"):
            assert Path(url.removeprefix("sqlite:///") + "-wal").stat().st_size == 0
    reader.dispose()
    vacuum(url, 60)

    assert found_in(files(), needles) == set()
    with writing(url) as ledger:
        ledger.append([predicted()])


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_reader_in_the_way_is_not_waited_for(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """While somebody reads, the WAL cannot be emptied: the pen says so at once and is asked again later."""
    url = fresh(kind, request, tmp_path)
    reader = open_reader(url)
    with writing(url) as ledger:
        fill(ledger)
        with reader.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("SELECT count(*) FROM record").all()
            ledger.append([predicted()])
            assert not ledger.scrub()
            connection.exec_driver_sql("COMMIT")
        assert ledger.scrub()
    reader.dispose()


def test_who_does_not_own_the_tables_is_told(postgres: Postgres) -> None:
    """The pen's role may not write tables anew; a VACUUM that skipped them is not called done."""
    url = postgres.new_ledger()
    database = name_of(url)
    role = f"pen_of_{database}"
    postgres.execute(f"CREATE ROLE {role} LOGIN", database)
    postgres.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}", database
    )

    with pytest.raises(StorageRefused, match="owner"):
        vacuum(postgres.url(database, role), 30)


@pytest.mark.parametrize("is_salted", [True, False])
def test_what_was_erased_cannot_be_guessed(
    is_salted: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """E6: with all that is stored, no candidate fits the commitment; without a salt, one would at once."""
    url = fresh("sqlite", request, tmp_path)
    reader = open_reader(url)
    record = predicted((SUBJECT, ">50K", 0.75))
    with writing(url) as ledger:
        ledger.append([record])
        changing.change(
            ledger, reader, "erasure.add", erasing(record=str(record.id)) | {"fields": ["input"]}, NOON_US + 1
        )
    reader.dispose()
    leaf = read_leaf(sealed.leaves_of(url)[0])
    ((secret,),) = sealed.sql(url, "SELECT secret FROM payload WHERE length(secret) = 128")
    known = [bytes(secret)[at : at + 32] for at in range(0, 128, 32)]
    candidates = (record.input.replace(b"50", b"%d" % age) for age in range(100_000))

    target: Any = leaf.input if is_salted else sha256(record.input).digest()
    fits = [
        content
        for content in candidates
        if target
        in (
            {commitment(salt, "input", content) for salt in known}
            if is_salted
            else {sha256(content).digest()}
        )
    ]

    assert fits == ([] if is_salted else [record.input])
