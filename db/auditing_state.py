"""Clients, revoked tokens, versions, aliases and holds held against the recorded changes that made them.

Every recorded change is made again in memory; what comes out is compared, column by column, with what is stored. Not
covered, because no record knows it: the number of a secret's row (`client_secret.id`), which nothing but the order of a
client's two secrets depends on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from db.auditing import Cause, Findings
from db.auditing_rows import raw
from db.clients import LIVE_SECRETS, jwks_text
from db.records import Kind

# The kinds of records that make these tables what they are.
TOLD = frozenset({Kind.CLIENT, Kind.MODEL, Kind.HOLD, Kind.TOKEN, Kind.TWIN})
_Key = tuple[Any, ...]
_TABLES = {
    "client": ("client_id", "name", "scope", "created_at_us", "disabled_at_us", "not_before_us", "jwks"),
    "revoked_token": ("jti", "client_id", "expires_at_us", "revoked_at_us"),
    "client_secret": ("client_id", "created_at_us", "expires_at_us", "hash"),
    "version": ("model", "version", "digest", "registered_at_us", "manifest", "twin_off_at_us"),
    "alias": ("model", "alias", "version", "previous", "changed_at_us"),
    "hold": (
        "id", "record_id", "reference", "client_id", "model", "reason", "created_at_us", "until_us", "lifted_at_us",
    ),
}  # fmt: skip
_KEYS = {"client": 1, "revoked_token": 1, "client_secret": 2, "version": 2, "alias": 2, "hold": 1}


@dataclass
class State:
    """What the changes so far have made of the tables: for each key its row, and the record that wrote it last."""

    rows: dict[str, dict[_Key, list[Any]]] = field(default_factory=lambda: {name: {} for name in _TABLES})
    by: dict[tuple[str, _Key], int] = field(default_factory=dict)

    def apply(self, idx: int, row: Any) -> None:
        """Make one recorded change again; a record that is no change, or is of a later release, changes nothing."""
        if row.kind not in TOLD or row.input is None:
            return
        try:
            asked, output = orjson.loads(row.input), orjson.loads(row.output)
            change = asked["change"]
            match row.kind:
                case Kind.HOLD:
                    self._hold(idx, change, asked["args"], row)
                case Kind.CLIENT:
                    self._client(idx, change, output, row)
                case Kind.MODEL:
                    self._model(idx, change, output, row.observed_at_us)
                case Kind.TOKEN:
                    self._token(idx, output, row.observed_at_us)
                case Kind.TWIN:
                    self.rows["version"][output["model"], output["version"]][5] = output["off_at_us"]
                    self.by["version", (output["model"], output["version"])] = idx
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # the tables then show it: what was stored has no recorded change behind it

    def _client(self, idx: int, change: str, output: dict[str, Any], row: Any) -> None:
        client_id, at_us = output["client_id"], row.observed_at_us
        match change:
            case "client.add":
                jwks = jwks_text(output["jwks"]) if "jwks" in output else None
                added = [client_id, output["name"], output["scope"], at_us, None, None, jwks]
                self._put(idx, "client", (client_id,), added)
                if jwks is None:
                    self._secret(idx, client_id, row)
            case "client.keys":
                self.rows["client"][client_id,][6] = jwks_text(output["jwks"])
                self.by["client", (client_id,)] = idx
            case "client.disable":
                client = self.rows["client"][client_id,]
                client[4] = at_us if client[4] is None else client[4]
                self.by["client", (client_id,)] = idx
            case "client.revoke":
                self.rows["client"][client_id,][5] = at_us
                self.by["client", (client_id,)] = idx
            case "client.rotate":
                self._end_secrets(idx, client_id, at_us, output.get("previous_expires_in"))
                self._secret(idx, client_id, row)

    def _model(self, idx: int, change: str, output: dict[str, Any], at_us: int) -> None:
        if change == "model.register":
            key = (output["model"], output["version"])
            row = self.rows["version"].get(key) or [*key, output["digest"], at_us, None, None]
            if row[4] is None:  # earlier releases registered no manifest; registered again, it is added
                self._put(idx, "version", key, [*row[:4], output.get("manifest"), row[5]])
        else:
            key = (output["model"], output["alias"])
            before = self.rows["alias"].get(key, [None] * 5)
            if before[2] != output["version"]:
                self._put(idx, "alias", key, [*key, output["version"], before[2], at_us])

    def _token(self, idx: int, output: dict[str, Any], at_us: int) -> None:
        key = (output["jti"],)
        if key not in self.rows["revoked_token"]:
            revoked = [output["jti"], output["client_id"], output["expires_at_us"], at_us]
            self._put(idx, "revoked_token", key, revoked)

    def _hold(self, idx: int, change: str, args: dict[str, Any], row: Any) -> None:
        if change == "hold.add":
            of = args.get("record")
            record_id = None if of is None else UUID(of).bytes
            reference = None if args.get("reference") is None else bytes.fromhex(args["reference"])
            about = (
                args.get("client"),
                args.get("model"),
                args["reason"],
                row.observed_at_us,
                args.get("until_us"),
            )
            self._put(idx, "hold", (raw(row.id),), [raw(row.id), record_id, reference, *about, None])
        else:
            key = (UUID(args["hold"]).bytes,)
            self.rows["hold"][key][-1] = row.observed_at_us
            self.by["hold", key] = idx

    def _put(self, idx: int, table: str, key: _Key, row: list[Any]) -> None:
        self.rows[table][key] = row
        self.by[table, key] = idx

    def _secret(self, idx: int, client_id: str, row: Any) -> None:
        at_us, digest = row.observed_at_us, bytes.fromhex(orjson.loads(row.meta)["secret_digest"])
        self._put(idx, "client_secret", (client_id, at_us), [client_id, at_us, None, digest])
        mine = sorted(key for key in self.rows["client_secret"] if key[0] == client_id)
        for key in mine[:-LIVE_SECRETS]:
            del self.rows["client_secret"][key]

    def _end_secrets(self, idx: int, client_id: str, at_us: int, grace_s: int | None) -> None:
        if grace_s is None:
            return
        for key, row in self.rows["client_secret"].items():
            if row[0] == client_id and row[2] is None:
                row[2] = at_us + grace_s * 1_000_000
                self.by["client_secret", key] = idx

    def compare(self, connection: Connection, findings: Findings) -> None:
        """Hold all that is stored against all that was recorded."""
        for table, columns in _TABLES.items():
            rows = list(_read(connection, table, columns))
            stored = {tuple(row[: _KEYS[table]]): list(row) for row in rows}
            if len(rows) != len(stored):
                findings.add(
                    None, Cause.STATE, f"{table} has {len(rows) - len(stored)} rows that double others"
                )
            for key in sorted(self.rows[table].keys() | stored.keys(), key=str):
                for detail in _differences(columns, stored.get(key), self.rows[table].get(key)):
                    findings.add(
                        self.by.get((table, key)), Cause.STATE, f"{table} {' '.join(map(str, key))}: {detail}"
                    )


def _read(connection: Connection, table: str, columns: tuple[str, ...]) -> Iterator[Any]:
    rows = connection.execute(text(f"SELECT {', '.join(columns)} FROM {table}"))  # noqa: S608  # our own names
    yield from (tuple(each.bytes if isinstance(each, UUID) else each for each in row) for row in rows)


def _differences(columns: tuple[str, ...], have: list[Any] | None, want: list[Any] | None) -> Iterator[str]:
    if have is None or want is None:
        yield "is recorded, and missing" if have is None else "no recorded change made it"
        return
    for name, left, right in zip(columns, have, want, strict=True):
        if left != right:
            yield f"{name} is {left!r}, its records say {right!r}"
