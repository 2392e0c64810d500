"""Current state: who may call, and which version is meant; every change of it comes with its record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from db import clients, standing, versions
from db.auditing_state import State
from db.clients import BadClient, Client, ClientNotFound
from db.engine import open_reader, reading
from db.ledger import Ledger
from db.records import Kind
from db.versions import Alias, AliasNotFound, VersionNotFound, VersionTaken
from tests import auditor
from tests.ledgers import DATABASES, changed, fresh, registered, writing

SCOPE = frozenset({"predict", "predictions:read"})


@dataclass(frozen=True)
class World:
    """A pen to change with and a reader to look with."""

    ledger: Ledger
    reader: Engine

    def change(self, what: Callable[..., Any], *args: object) -> None:
        """Make one change and its record."""

        def apply(connection: Connection) -> None:
            what(connection, *args)

        self.ledger.change(changed(), apply)

    def client(self, secret: str, name: str = "demo") -> Client:
        """Add a client with this secret."""
        client = clients.new(name, SCOPE, 1)
        self.change(clients.add, client, secret)
        return client

    def knows(self, client: Client, secret: str, now_us: int = 5) -> bool:
        """Say whether this secret is taken for this client."""
        return clients.authenticate(self.reader, client.client_id, secret, now_us) is not None


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Open an empty ledger, to be consistent in the end."""
    url = fresh(request.param, request, tmp_path)
    reader = open_reader(url)
    with writing(url) as ledger:
        yield World(ledger, reader)
    reader.dispose()
    assert auditor.audit(url) == []


class TestClients:
    def test_a_client_is_known_by_its_secret(self, world: World) -> None:
        """The right id and secret give the client; any other pair gives nothing."""
        client, other = world.client("s1"), world.client("s2")

        assert clients.authenticate(world.reader, client.client_id, "s1", 5) == client
        assert not world.knows(client, "s2")
        assert not world.knows(client, "")
        assert not world.knows(client, "S1")
        assert world.knows(other, "s2")
        for nobody in ("nobody", "", "\0", "\ud800", client.client_id + "\0"):
            assert clients.authenticate(world.reader, nobody, "s1", 5) is None
        assert clients.authenticate(world.reader, client.client_id.upper(), "s1", 5) is None

    def test_secrets_are_not_stored(self, world: World) -> None:
        """The database holds a digest of 32 bytes, and nothing that would authenticate."""
        secret = clients.new_secret()
        world.client(secret)

        with reading(world.reader) as connection:
            ((stored,),) = connection.execute(text("SELECT hash FROM client_secret"))
        assert len(bytes(stored)) == 32
        assert secret.encode() not in bytes(stored)
        assert len(secret) >= 43

    def test_two_secrets_live_while_callers_change_over(self, world: World) -> None:
        """After a rotation the old and the new secret work; a third ends the first."""
        client = world.client("s1")

        world.change(clients.rotate, client.client_id, "s2", 2)
        assert (world.knows(client, "s1"), world.knows(client, "s2")) == (True, True)

        world.change(clients.rotate, client.client_id, "s3", 3)
        assert [world.knows(client, each) for each in ("s1", "s2", "s3")] == [False, True, True]

    def test_a_rotation_can_end_the_old_secret(self, world: World) -> None:
        """The old secret works until the moment that was said, the new one goes on, and both are listed while alive."""
        client = world.client("s1")

        world.change(clients.rotate, client.client_id, "s2", 2, 10)

        assert (world.knows(client, "s1", 9), world.knows(client, "s1", 10)) == (True, False)
        assert world.knows(client, "s2", 10)
        live = [clients.live_secrets(world.reader, client.client_id, now_us) for now_us in (9, 10)]
        assert [[(each.created_at_us, each.expires_at_us) for each in some] for some in live] == [
            [(1, 10), (2, None)],
            [(2, None)],
        ]

    def test_an_expired_secret_is_no_secret(self, world: World) -> None:
        """A secret works until the microsecond at which it expires."""
        client = world.client("s1")
        world.change(
            lambda connection: connection.execute(text("UPDATE client_secret SET expires_at_us = 10"))
        )

        assert (world.knows(client, "s1", 9), world.knows(client, "s1", 10)) == (True, False)

    def test_a_disabled_client_is_nobody(self, world: World) -> None:
        """Disabling ends every secret, is listed, and keeps its first date."""
        client, other = world.client("s1"), world.client("s2")
        world.change(clients.disable, client.client_id, 7)
        world.change(clients.disable, client.client_id, 9)

        assert not world.knows(client, "s1")
        assert world.knows(other, "s2")
        assert standing.read(world.reader, 0).disabled == {client.client_id}
        assert {each.disabled_at_us for each in clients.listing(world.reader)} == {7, None}

    def test_who_is_not_there_cannot_be_changed(self, world: World) -> None:
        """Disabling or rotating an unknown client is refused by name."""
        with pytest.raises(ClientNotFound, match="demo-x"):
            world.change(clients.disable, "demo-x", 1)
        with pytest.raises(ClientNotFound, match="demo-x"):
            world.change(clients.rotate, "demo-x", "s", 1)

    @pytest.mark.parametrize("name", ["", " demo", "a" * 65, "naïve", "a/b", "a\n", "-a"])
    def test_a_name_is_plain(self, name: str) -> None:
        """A name that would not survive a URL, a log line or a terminal is refused."""
        with pytest.raises(BadClient):
            clients.new(name, SCOPE, 1)

    @pytest.mark.parametrize("scope", [set(), {"predict", "root"}, {""}])
    def test_a_scope_is_known(self, scope: set[str]) -> None:
        """Only scopes that something checks can be given, and at least one."""
        with pytest.raises(BadClient, match="choose from"):
            clients.new("demo", frozenset(scope), 1)

    def test_ids_tell_the_name_and_are_never_the_same(self) -> None:
        """An id is readable in a log and cannot be guessed from another one."""
        ids = {clients.new("My App 2", SCOPE, 1).client_id for _ in range(100)}

        assert len(ids) == 100
        assert {each.rpartition("-")[0] for each in ids} == {"my-app-2"}


class TestVersions:
    def test_a_version_means_one_artefact_for_ever(self, world: World) -> None:
        """Registering the same digest again changes nothing, another one under the same version is refused."""
        world.change(versions.register, registered("1", "aa", 1))
        world.change(versions.register, registered("1", "aa", 2))

        with pytest.raises(VersionTaken, match="aa"):
            world.change(versions.register, registered("1", "bb", 3))
        assert versions.listing(world.reader) == [registered("1", "aa", 1)]

    def test_a_version_means_one_manifest_for_ever(self, world: World) -> None:
        """Another manifest for the same pickle is refused; a version that has none yet is given one, once."""
        world.change(versions.register, registered("1", "aa", 1, manifest=None))
        world.change(versions.register, registered("1", "aa", 2))

        with pytest.raises(VersionTaken, match="cc"):
            world.change(versions.register, registered("1", "aa", 3, manifest="dd" * 32))
        assert versions.listing(world.reader) == [registered("1", "aa", 1)]

    def test_an_audit_knows_both_ways_to_a_manifest(self) -> None:
        """A registration of an earlier release names none; the one that adds it keeps the time of the first."""
        state = State()
        about = {"model": "income", "version": "1", "digest": "aa"}
        for idx, output in enumerate((about, about | {"manifest": "cc"}, about | {"manifest": "dd"})):
            body = {"input": json.dumps({"change": "model.register"}), "output": json.dumps(output)}
            state.apply(idx, SimpleNamespace(kind=Kind.MODEL, observed_at_us=idx + 5, **body))

        assert state.rows["version"] == {("income", "1"): ["income", "1", "aa", 5, "cc", None]}
        assert state.by["version", ("income", "1")] == 1

    def test_an_alias_moves_and_comes_back(self, world: World) -> None:
        """Promoting remembers what was meant before; rolling back returns to it, twice is forward again."""
        for number, version in enumerate(("1", "2")):
            world.change(versions.register, registered(version, "aa", number))
            world.change(versions.promote, "income", "champion", version, number)

        def champion() -> Alias:
            (alias,) = versions.aliases(world.reader)
            return alias

        assert (champion().version, champion().previous) == ("2", "1")
        world.change(versions.rollback, "income", "champion", 5)
        assert (champion().version, champion().previous, champion().changed_at_us) == ("1", "2", 5)
        world.change(versions.rollback, "income", "champion", 6)
        assert champion().version == "2"

    def test_promoting_the_champion_again_keeps_the_way_back(self, world: World) -> None:
        """Promoting what is promoted does not overwrite what was before it."""
        for version in ("1", "2", "2"):
            world.change(versions.register, registered(version, "aa", 1))
            world.change(versions.promote, "income", "champion", version, 1)

        assert versions.aliases(world.reader)[0].previous == "1"

    def test_an_alias_never_means_what_is_not_registered(self, world: World) -> None:
        """An unknown version cannot be promoted, and an alias without a past cannot be rolled back."""
        with pytest.raises(VersionNotFound):
            world.change(versions.promote, "income", "champion", "9", 1)
        with pytest.raises(AliasNotFound):
            world.change(versions.rollback, "income", "champion", 1)
        world.change(versions.register, registered("1", "aa", 1))
        world.change(versions.promote, "income", "champion", "1", 1)
        with pytest.raises(AliasNotFound):
            world.change(versions.rollback, "income", "champion", 1)
