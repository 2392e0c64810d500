"""`python -m models.compile <model> <version>`: find a twin for a version that was trained before, and prove it."""

from pathlib import Path

import click

from models import registry, training
from models.files import replace_file
from models.manifest import encode
from models.recipe import DataMissing
from models.train import RECIPES, STORE, about_twin


@click.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--data",
    envvar="ONRECORD_DATASETS",
    show_envvar=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of CSV files, for the held-out rows; without it the rows come from OpenML.",
)
@click.option(
    "--store",
    default=STORE,
    show_default="models/store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where versions are kept.",
)
def compile_twin(model: str, version: str, data: Path | None, store: Path) -> None:
    """
    Find a twin of VERSION of MODEL. The pickle stays as it is, the manifest changes.

    A registered version is bound to its manifest: compile before it is registered, or train a new version.
    """
    try:
        loaded = registry.load(store, model, version, None, registry.Terms(twin=False))
        recipe = RECIPES.get(model)
        held_out = None if recipe is None else training.split(recipe.data(data).frame)[1]
    except (DataMissing, registry.ModelRefused) as refused:
        raise click.ClickException(str(refused)) from refused
    manifest, files = training.twinned(loaded, held_out)
    for name, content in {**files, "manifest.json": encode(manifest)}.items():
        replace_file(store / model / version / name, content)
    click.echo(f"{model} {version}: {about_twin(manifest.twin)}")


if __name__ == "__main__":
    compile_twin()
