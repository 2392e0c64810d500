"""The commands that change which keys sign access tokens; running doors follow within seconds, and each is on record.

A change is recorded before a file is touched: after a crash in between, the record says what was meant, and the command
can be given again.
"""

from __future__ import annotations

import time

import click

from api import keyring, times
from api.jwks import ALGORITHMS
from api.keyring import KeptKey
from api.refusals import CommandRefused
from api.settings import Settings, environment


@click.group()
def key() -> None:
    """Which keys sign access tokens."""


@key.command("list")
def list_keys() -> None:
    """List the keys with their state; no private part is ever shown."""
    from api.commands.showing import rows

    now_s = int(time.time())
    found = [
        (each.key.verifying.kid, _state(each, now_s), each.key.verifying.algorithm, _since(each))
        for each in keyring.read(_settings().var).kept
    ]
    rows(("kid", "state", "algorithm", "since"), found)


@key.command("prepare")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), help="Default: ONRECORD_TOKEN_ALGORITHM.")
def prepare_key(algorithm: str | None) -> None:
    """Make the next key and publish it, so that verifiers know it when it begins to sign."""
    settings = _settings()
    ring = keyring.read(settings.var)
    if waiting := [each for each in ring.kept if each.state == "next"]:
        raise CommandRefused(
            f"there is a next key, {waiting[0].key.verifying.kid}; let it sign: python -m api key rotate"
        )
    pem, made = keyring.new_key(algorithm or settings.token_algorithm)
    _record(settings, "key.prepare", made.verifying.kid)
    keyring.prepare(settings.var, pem, int(time.time()))
    click.echo(f"published {made.verifying.kid}; let it sign in {keyring.PUBLISHED_S // 60} minutes or later")


@key.command("rotate")
@click.option("--now", "at_once", is_flag=True, help="Even if verifiers may not know the next key yet.")
def rotate_key(at_once: bool) -> None:
    """Let the next key sign; the one so far verifies until its last token has expired, then it is removed."""
    settings, now_s = _settings(), int(time.time())
    ring = keyring.read(settings.var)
    chosen = keyring.promised(ring, now_s, at_once=at_once)
    _record(settings, "key.rotate", chosen.key.verifying.kid)
    for each in keyring.forget(ring, now_s):
        click.echo(f"removed {each.key.verifying.kid}: no token it signed can be alive")
    keyring.rotate(ring, chosen, now_s)
    click.echo(f"{chosen.key.verifying.kid} signs from now on, {ring.active.verifying.kid} no longer")


# One id in sixty-four begins with a hyphen, and is no option.
@key.command("remove", context_settings={"ignore_unknown_options": True})
@click.argument("kid")
def remove_key(kid: str) -> None:
    """Refuse from now on every token that this key signed, as if it had been stolen."""
    settings = _settings()
    ring = keyring.read(settings.var)
    if kid == ring.active.verifying.kid:
        raise CommandRefused(
            "this key signs; first: python -m api key prepare, python -m api key rotate --now"
        )
    found = ring.find(kid)
    if found is None:
        raise CommandRefused(f"there is no key {kid}; see: python -m api key list")
    _record(settings, "key.remove", kid)
    keyring.remove(found)
    click.echo(f"removed {kid}: its tokens are refused within seconds")


def _settings() -> Settings:
    return Settings.from_environment(environment())


def _record(settings: Settings, change: str, kid: str) -> None:
    from api.commands.submitting import submit

    submit(settings, change, {"kid": kid})


def _state(kept: KeptKey, now_s: int) -> str:
    return "gone" if kept.is_gone(now_s) else kept.state


def _since(kept: KeptKey) -> str:
    return times.text(kept.since_s * 1_000_000) if kept.since_s else ""
