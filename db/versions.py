"""Which versions are registered, under which digest for ever, and which one an alias means now.

What changes them takes the connection of `Ledger.change`, whose lock on `head` lets one change happen at a time.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, insert, select, update

from db.engine import reading
from db.registers import alias as alias_table
from db.registers import version as version_table


class VersionTaken(Exception):
    """A version names one artefact for ever, and this one names another."""

    def __init__(self, known: "Registered") -> None:
        super().__init__(
            f"model {known.model!r} has a version {known.version!r} with digest {known.digest} and manifest "
            f"{known.manifest}: register the new artefact as a new version"
        )


class VersionNotFound(LookupError):
    """No such version is registered."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"model {model!r} has no registered version {version!r}")


class AliasNotFound(LookupError):
    """The alias was never promoted, or there is nothing to return to."""

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(f"alias {alias!r} of model {model!r} has no previous version")


class AliasMoved(Exception):
    """The alias no longer means what its mover has seen."""

    def __init__(self, model: str, alias: str) -> None:
        super().__init__(f"alias {alias!r} of model {model!r} was moved meanwhile; look, and ask again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One registered version; `digest` is the lower-case hex SHA-256 of its pickle, `manifest` that of its manifest."""

    model: str
    version: str
    digest: str
    registered_at_us: int
    manifest: str | None  # None: registered by an earlier release, and not since
    twin_off_at_us: int | None = (
        None  # since when its pickle answers alone, because its twin gave another answer
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """What an alias means now and what it meant before."""

    model: str
    alias: str
    version: str
    previous: str | None
    changed_at_us: int


def register(connection: Connection, new: Registered) -> None:
    """Bind a version to its two digests for ever; the same again changes nothing, a missing manifest is added.

    Raises VersionTaken.
    """
    known = _find(connection, new.model, new.version)
    if known is None:
        connection.execute(insert(version_table).values(**asdict(new)))
    elif known.digest != new.digest or known.manifest not in (None, new.manifest):
        raise VersionTaken(known)
    elif known.manifest is None:
        connection.execute(
            update(version_table)
            .where(version_table.c.model == new.model, version_table.c.version == new.version)
            .values(manifest=new.manifest)
        )


def switch_twin(connection: Connection, model: str, version: str, off_at_us: int | None) -> None:
    """Keep a version's twin from answering from then on, or let it answer again. Raises VersionNotFound."""
    is_it = (version_table.c.model == model, version_table.c.version == version)
    found = connection.execute(update(version_table).where(*is_it).values(twin_off_at_us=off_at_us))
    if not found.rowcount:
        raise VersionNotFound(model, version)


def promote(connection: Connection, model: str, alias: str, version: str, now_us: int) -> None:
    """Let the alias mean this version from now on; what it meant before can be rolled back to.

    Promoting what the alias already means changes nothing. Raises VersionNotFound.
    """
    if _find(connection, model, version) is None:
        raise VersionNotFound(model, version)
    now = _alias(connection, model, alias)
    if now is None:
        connection.execute(
            insert(alias_table).values(model=model, alias=alias, version=version, changed_at_us=now_us)
        )
    elif now.version != version:
        _move(connection, now, version, now_us)


def expect(connection: Connection, model: str, alias: str, changed_at_us: int | None) -> None:
    """Go on only if the alias was last changed then (None: never made). Raises AliasMoved."""
    now = _alias(connection, model, alias)
    if (None if now is None else now.changed_at_us) != changed_at_us:
        raise AliasMoved(model, alias)


def rollback(connection: Connection, model: str, alias: str, now_us: int) -> str:
    """Let the alias mean its previous version again and return that; twice is a way back. Raises AliasNotFound."""
    now = _alias(connection, model, alias)
    if now is None or now.previous is None:
        raise AliasNotFound(model, alias)
    _move(connection, now, now.previous, now_us)
    return now.previous


def listing(engine: Engine) -> list[Registered]:
    """Return every registered version, by model, in the order of registration."""
    query = select(version_table).order_by(
        version_table.c.model, version_table.c.registered_at_us, version_table.c.version
    )
    with reading(engine) as connection:
        return [Registered(**row) for row in connection.execute(query).mappings()]


def aliases(engine: Engine) -> list[Alias]:
    """Return every alias, by model and name."""
    query = select(alias_table).order_by(alias_table.c.model, alias_table.c.alias)
    with reading(engine) as connection:
        return [Alias(**row) for row in connection.execute(query).mappings()]


def _find(connection: Connection, model: str, version: str) -> Registered | None:
    query = select(version_table).where(version_table.c.model == model, version_table.c.version == version)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Registered(**row)


def _alias(connection: Connection, model: str, alias: str) -> Alias | None:
    query = select(alias_table).where(alias_table.c.model == model, alias_table.c.alias == alias)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Alias(**row)


def _move(connection: Connection, now: Alias, version: str, now_us: int) -> None:
    connection.execute(
        update(alias_table)
        .where(alias_table.c.model == now.model, alias_table.c.alias == now.alias)
        .values(version=version, previous=now.version, changed_at_us=now_us)
    )
