"""Every setting of the service, in one table, and the only place that reads the environment.

A setting is an `ONRECORD_…` variable (and `DATABASE_URL`, which platforms set by that name). Each says what
it means, its unit, who may choose it and what losing or misjudging it costs; `python -m api settings` and the
README's table are printed from here. A default may name earlier settings: `<var>/engine.sock`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from api import readings
from api.alerting.settings import AlertSettings
from api.readings import Documented, setting, variable_of, whole
from api.witnesses import WITNESSES, Witnesses

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(AlertSettings):
    """What the operator decided, checked as a whole before anything starts."""

    var: Path = setting(
        "var",
        readings.PATH,
        "folder of everything that must survive: keys, clients' secrets, SQLite file, engine socket",
        "operator; losing it loses keys and, with SQLite, every record: back it up",
    )
    database_url: str = setting(
        "sqlite:///<var>/onrecord.db",
        readings.DATABASE,
        "where records live",
        "operator; may hold a password and is never logged; losing the database loses the records",
    )
    store: Path = setting(
        "models/store",
        readings.PATH,
        "folder of trained versions, <model>/<version>/{model.pkl,manifest.json}",
        "model owner; files are loaded only under their registered digest; can be trained anew",
    )
    publishers: Path | None = setting(
        "",
        readings.MAYBE_PATH,
        "file or folder of publishers' Ed25519 public keys (PEM); when set, only versions that one of them signed load",
        "operator; unset, who can write both store and database decides what is loaded",
    )
    largest_artefact_bytes: int = setting(
        "256000000", whole(1024, 16384 * MIB, "bytes"), "largest model.pkl loaded", "operator; bounds memory"
    )
    host: str = setting(
        "127.0.0.1", readings.HOST, "address the doors listen on", "operator; 0.0.0.0 needs TLS in front"
    )
    port: int = setting("8080", whole(1, 65535), "TCP port the doors listen on", "operator")
    doors: int = setting(
        "auto", readings.DOORS, "door processes; auto: cores less one, at most 4", "operator; costs memory"
    )
    root_path: str = setting(
        "", readings.PREFIX, "path prefix that a proxy strips before us", "operator; a wrong one breaks links"
    )
    public_url: str = setting(
        "http://<host>:<port><root_path>",
        readings.URL,
        "the service's address as callers see it; the issuer and audience of its tokens",
        "operator; changing it makes every live token void",
    )
    hosts: str = setting(
        "<public_url>, localhost, 127.0.0.1, [::1]",
        readings.HOSTS,
        "names the service answers to; a request whose Host is another is refused",
        "operator; a name without a port stands for every port",
    )
    trusted_proxies: str = setting(
        "127.0.0.1",
        readings.ADDRESSES,
        "peers whose X-Forwarded-For and X-Forwarded-Proto are believed",
        "operator; a stranger listed here can forge the caller's address",
    )
    log_level: str = setting("info", readings.LEVEL, "least severe line written to stderr", "operator")
    docs: bool = setting(
        "on", readings.SWITCH, "serve the console at /docs", "operator; off hides only the page"
    )
    public_forms: str = setting(
        "",
        readings.OPENED,
        "models whose forms anybody may use, each with how many predictions a minute a door takes for it (60)",
        "operator; strangers' entries go on record, and who has an answer's address can read it",
    )
    debug: bool = setting(
        "off",
        readings.SWITCH,
        "full traces in the log (serve --debug also reloads)",
        "developer; traces may show inputs",
    )
    token_lifetime_s: int = setting(
        "600", whole(60, 3600, "seconds"), "life of an access token", "operator; a stolen token lives as long"
    )
    token_algorithm: str = setting(
        "ES256",
        readings.TOKEN_ALGORITHM,
        "what a newly made token key signs with: ES256 (P-256) or RS256 (RSA, 3072 bits)",
        "operator; RS256 costs 0.9 ms per token, and verifiers of every age know it",
    )
    issuer: str = setting(
        "",
        readings.OPTIONAL_URL,
        "whose tokens are believed instead of our own, as its `iss` says",
        "operator; whoever issues them decides who may do what; empty: we issue tokens ourselves",
    )
    issuer_keys: str = setting(
        "",
        readings.PLACE,
        "where that issuer publishes its keys (a JWK set)",
        "operator; whoever can change what stands there is believed; fetched in the background",
    )
    audience: str = setting(
        "<public_url>",
        readings.AUDIENCE,
        "what `aud` of that issuer's tokens has to name",
        "operator; tokens meant for others are refused by it",
    )
    max_body_bytes: int = setting(
        str(8 * MIB),
        whole(1024, 256 * MIB, "bytes"),
        "largest request body; 10,000 instances of the examples fit",
        "operator; every door may hold that much per request",
    )
    max_instances: int = setting(
        "10000", whole(1, 1_000_000), "most instances in one request", "operator; one request holds a model"
    )
    queue_requests: int = setting(
        "4096", whole(1, 1_000_000), "most requests inside the engine; one more is answered 503", "operator"
    )
    queue_bytes: int = setting(
        str(64 * MIB),
        whole(1024, 16384 * MIB, "bytes"),
        "most request bytes inside the engine; more is answered 503",
        "operator; bounds the engine's memory",
    )
    rate_per_client: int = setting(
        "0",
        whole(0, 1_000_000_000),
        "most predictions and replays a client may ask for in a minute; more is answered 429; 0: no limit",
        "operator; counted by the engine for all doors of a host, anew when it starts",
    )
    instances_per_client: int = setting(
        "0",
        whole(0, 1_000_000_000),
        "most instances a client may send in a minute; more is answered 429; 0: no limit",
        "operator; as above; a request with more than that is never taken",
    )
    verifications_per_client: int = setting(
        "20", whole(0, 10**6), "verifications a client starts a minute; 0: all", "operator; each is a record"
    )
    failures_per_address: int = setting(
        "60",
        whole(0, 1_000_000_000),
        "failures to authenticate that an address may have in a minute; then 429 instead of 401; 0: no limit",
        "operator; callers behind one address share it for /oauth/; a good token always works",
    )
    answer_deadline_s: int = setting(
        "10",
        whole(1, 600, "seconds"),
        "longest a request waits for its model; later it is answered 503 and nothing is recorded",
        "operator",
    )
    drain_s: int = setting(
        "20",
        whole(0, 3600, "seconds"),
        "time given to requests in flight on SIGTERM",
        "operator; the platform's grace period must be longer",
    )
    replay_deadline_s: int = setting(
        "15",
        whole(1, 600, "seconds"),
        "longest a replay may take; then its process is ended and it is answered 503",
        "operator; a process for as long; with more than 17, the proxy must wait longer, too",
    )
    engine_socket: Path = setting(
        "<var>/engine.sock",
        readings.SOCKET,
        "unix socket between doors and engine (mode 0600)",
        "operator; whoever can open it predicts and records as any client",
    )
    anchor: Path = setting(
        "<var>/anchor.log",
        readings.PATH,
        "file the engine adds signed checkpoints to, at most one a second; it will not start behind them",
        "operator; on a disk of its own it shows when the database is rolled back; losing it hides that",
    )
    witnesses: Witnesses = setting(
        "",
        WITNESSES,
        "witnesses that are asked to cosign checkpoints, off the way of answers",
        "operator; other people's hosts: each shows that the ledger was not rewritten or rolled back",
    )
    witness_every_s: int = setting(
        "10",
        whole(1, 86400, "seconds"),
        "how often each witness is asked, if there is something new",
        "operator; the newest records may be rolled back unseen for as long",
    )
    heartbeat_s: int = setting(
        "3600",
        whole(0, 604800, "seconds"),
        "a record is added where none was for so long, so that a ledger kept from growing shows; 0: never",
        "operator; `verify --fresh` should allow a little more",
    )
    retention_days: int = setting(
        "0",
        whole(0, 36500, "days"),
        "days after which what went in and came out is erased, on record; 0: kept for ever",
        "operator; what is erased cannot be replayed or shown to anybody",
    )
    retention_under_six_months: bool = setting(
        "off",
        readings.SWITCH,
        "take fewer than 184 days, although Regulation (EU) 2024/1689 asks for six months of logs",
        "operator; only for systems that no such rule covers",
    )
    twin: bool = setting(
        "on", readings.SWITCH, "answer by proven twins; off: by pickles", "operator; off costs up to 5 ms"
    )
    elsewhere: bool = setting(
        "on", readings.SWITCH, "ask busy pickles in processes of their own", "operator; each takes 100 MB"
    )
    twin_checked: float = setting(
        "0.01", readings.SHARE, "share of twins' answers that are checked", "operator; a lie is found as soon"
    )
    events_days: int = setting(
        "90",
        whole(1, 3650, "days"),
        "days after which security events are deleted: they name clients and addresses",
        "operator; what is deleted can no longer be looked into",
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read every variable, or its default, in the order of the table.

        Raises:
            SettingRefused: the first variable whose value is not allowed.
        """
        values: dict[str, Any] = {}
        for each in fields(cls):
            if (text := environ.get(variable_of(each.name))) is None:
                text = re.sub(
                    r"<(\w+)>", lambda match: readings.within(values[match[1]]), each.metadata["default"]
                )
            values[each.name] = readings.read(each.name, each.metadata, text)
        readings.refuse_short(values["retention_days"], is_wanted=values["retention_under_six_months"])
        return cls(**values)

    @property
    def local_url(self) -> str:
        """The service's address as this machine sees it, without any proxy."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # looked up, not bound to
        return f"http://{readings.within(host)}:{self.port}"

    def client_file(self, name: str) -> Path:
        """Name the file that holds a client's id, secret and scope, for scripts on this machine."""
        return self.var / "clients" / f"{name}.json"


def table() -> Iterator[Documented]:
    """Walk the settings as documentation, in the order in which defaults may refer to each other."""
    return (readings.documented(each.name, each.metadata) for each in fields(Settings))


def environment(**chosen: object) -> dict[str, str]:
    """Copy the process's environment, with settings chosen on the command line laid over it."""
    over = {variable_of(name): readings.written(value) for name, value in chosen.items() if value is not None}
    return {**os.environ, **over}


def environment_of(settings: Settings) -> dict[str, str]:
    """Write the settings back as the environment of a child process, which reads them to the same values."""
    return environment(**{each.name: getattr(settings, each.name) for each in fields(settings)})


def bare_environment() -> dict[str, str]:
    """Write the environment of a process that must learn nothing: only what decides how numbers are computed."""
    names = ("LD_LIBRARY_PATH", "PYTHONPATH")
    kept = ("OMP_", "OPENBLAS_", "MKL_")
    return {name: text for name, text in os.environ.items() if name in names or name.startswith(kept)}


def calm_numeric_libraries() -> None:
    """Give each numeric library one thread; call it before the first of them is imported.

    Requests are small and many: threads inside one call only take the cores from the other calls, and a process
    that has started such threads must not fork.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
