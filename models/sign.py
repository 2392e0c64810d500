"""`python -m models.sign <model> <version> --key FILE`, where versions are made: sign one for who will serve it."""

import os
import stat
from pathlib import Path

import click
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models import registry, signing
from models.files import replace_file
from models.train import STORE


class _VersionUnlessNamed(click.Group):
    """Takes a first word that is no command for a model: signing is what this is for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = args[0] in self.commands
        return super().resolve_command(ctx, args if known else ["version", *args])


@click.command(cls=_VersionUnlessNamed)
def main() -> None:
    """Sign a version: MODEL VERSION --key FILE; or make a key: keygen FILE."""


@main.command("version")
@click.argument("model")
@click.argument("version")
@click.option(
    "--key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The private key.",
)
@click.option(
    "--store",
    default=STORE,
    show_default="models/store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where versions are kept.",
)
def sign_version(model: str, version: str, key: Path, store: Path) -> None:
    """Sign VERSION of MODEL as it is in the store, once it has loaded here; an older signature is replaced."""
    private = _private(key)
    try:
        pickle, manifest = registry.claimed(store, model, version)
        registry.load(store, model, version, pickle, registry.Terms(manifest=manifest))
    except registry.ModelRefused as refused:
        raise click.ClickException(str(refused)) from refused
    statement = signing.Statement(model=model, version=version, pickle=pickle, manifest=manifest)
    replace_file(store / model / version / signing.FILE, signing.sign(statement, private))
    name = signing.name_of(private.public_key().public_bytes_raw())
    click.echo(f"signed {model} {version} by {name}: model.pkl {pickle}, manifest.json {manifest}")


@main.command("keygen")
@click.argument("file", type=click.Path(path_type=Path))
def make_key(file: Path) -> None:
    """Make a key: FILE (mode 0600) stays with the publisher, FILE.pub goes to who serves."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        _write_new(file, secret, 0o600)
        _write_new(file.with_name(f"{file.name}.pub"), shown, 0o644)
    except OSError as error:
        raise click.ClickException(
            f"{error.filename}: {error.strerror}; a key is never overwritten"
        ) from error
    click.echo(f"made {file} and {file}.pub: key {signing.name_of(public.public_bytes_raw())}")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _private(path: Path) -> Ed25519PrivateKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise click.ClickException(f"{path} can be read by others; chmod 600 it, or make a new key")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise click.ClickException(f"{path} is no private key; make one: keygen FILE") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise click.ClickException(f"{path} is no Ed25519 key; make one: keygen FILE")
    return key


if __name__ == "__main__":
    main(prog_name="python -m models.sign")
