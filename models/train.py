"""`python -m models.train <model>`: train a model we ship, or all of them, into the store."""

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from models import training
from models.manifest import Manifest, Twin
from models.recipe import DataMissing, Recipe
from models.recipes import credit, housing, income, iris, two_features
from models.registry import NAME, ModelRefused

RECIPES = {module.RECIPE.model: module.RECIPE for module in (housing, income, iris, two_features, credit)}
STORE = Path(__file__).parent / "store"


def _check_version(_: click.Context, __: click.Parameter, version: str | None) -> str | None:
    if version is not None and not NAME.fullmatch(version):
        raise click.BadParameter("use lower-case letters, digits, '.', '_' and '-', the first no sign")
    return version


@click.command()
@click.argument("model", type=click.Choice([*RECIPES, "all"]))
@click.option(
    "--data",
    envvar="ONRECORD_DATASETS",
    show_envvar=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of CSV files; without it the rows come from OpenML.",
)
@click.option(
    "--store",
    default=STORE,
    show_default="models/store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where versions are kept.",
)
@click.option(
    "--version",
    callback=_check_version,
    help="What to call it; a version is never overwritten.  [default: the next free number]",
)
def train(model: str, data: Path | None, store: Path, version: str | None) -> None:
    """Train MODEL, measure it on the fifth of the rows it did not see, and keep it as a new version."""
    chosen = list(RECIPES.values()) if model == "all" else [RECIPES[model]]
    manifests = []
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for recipe in chosen:
                manifests.append(_train(recipe, data, store, version, progress))
    except (DataMissing, FileExistsError, ModelRefused) as error:
        raise click.ClickException(str(error)) from error
    finally:
        for manifest in manifests:
            click.echo(_summary(manifest))


def _train(
    recipe: Recipe, folder: Path | None, store: Path, version: str | None, progress: Progress
) -> Manifest:
    task = progress.add_task(f"{recipe.model}: reading the data", total=3)
    rows = recipe.data(folder)
    progress.update(task, advance=1, description=f"{recipe.model}: fitting {len(rows.frame):,} rows")
    trained_at = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest, files = training.fit(
        recipe, rows, version or training.next_version(store, recipe.model), trained_at
    )
    progress.update(task, advance=1, description=f"{recipe.model}: writing version {manifest.version}")
    training.keep(store, manifest, files)
    progress.update(task, advance=1)
    return manifest


def _summary(manifest: Manifest) -> str:
    figures = ", ".join(f"{name} {value:.4f}" for name, value in manifest.metrics.items())
    size = f"{manifest.size_bytes:,} bytes, sha256 {manifest.digest}"
    return f"{manifest.model} {manifest.version}: {figures}; {size}; {about_twin(manifest.twin)}"


def about_twin(twin: Twin | None) -> str:
    """Say in a line what came of looking for a twin."""
    if twin is None or twin.way is None:
        return f"no twin ({'never compiled' if twin is None else twin.why})"
    proved = f"{sum(twin.cases.values()):,} rows, {twin.largest_difference:.1e} apart at the most"
    return f"twin: {twin.way}, proved by {proved}"


if __name__ == "__main__":
    train()
