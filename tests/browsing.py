"""The distribution's Chromium, and a service to look at with it: behind the shipped nginx, under a path prefix.

Beside what is shipped it has a second version of housing, which answers otherwise, and a model that is asked for a day.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser, Page, sync_playwright

from models import training
from models.recipe import DataSet, Recipe
from tests.artefacts import Shelf, line
from tests.conftest import must_have
from tests.proxy import nginx
from tests.service import ROOT, Service, free_port

ARTEFACTS = Path(os.environ.get("ONRECORD_ARTEFACTS", ROOT / "artefacts"))
PREFIX = "/ml"
PUBLIC = "iris"
BETTER = {"r2_score": 0.75, "mean_absolute_error": 2.5}  # what the second version of housing claims of itself
VISITS = """
model: visits
title: Length of a visit
description: Answers how long a visit takes, from its day and the number of guests. Made up, for tests.
features:
  day:
    x-label: Day of the visit
    type: string
    format: date
    description: The day on which the guests come.
    example: '2026-03-27'
  guests: {type: integer, minimum: 1, maximum: 20, description: How many guests come., example: 4}
output: {kind: regressor, name: minutes, x-unit: min, description: How long the visit takes.}
examples:
  - summary: Four guests in spring
    instances: [{day: '2026-03-27', guests: 4}]
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the distribution's Chromium; no other host is asked for anything."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        must_have("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@contextmanager
def prefixed(folder: Path) -> Iterator[Service]:
    """Run that service; its `url` is the one before nginx, with the prefix."""
    folder.mkdir()
    shelf = Shelf(folder / "store")
    training.keep(shelf.store, *training.fit(_VISITS, _visits(None), "1", "2026-11-20T00:00:00Z"))
    door = free_port()
    with nginx(folder, door) as port:
        service = Service(
            folder / "var",
            ONRECORD_PORT=str(door),
            ONRECORD_STORE=str(shelf.store),
            ONRECORD_ROOT_PATH=PREFIX,
            ONRECORD_PUBLIC_URL=f"http://127.0.0.1:{port}{PREFIX}",
            ONRECORD_PUBLIC_FORMS=f"{PUBLIC}:4",
        )
        service.port, service.root = door, _tree(folder / "tree")
        service.set_up()
        shelf.put_estimator("2", line(), [(0, 30.0), (100, 20.0)])
        shelf.put("2", (shelf.folder("2") / "model.pkl").read_bytes(), **_claims(shelf))
        service.command("model", "register", "housing", "2")
        service.url = f"http://127.0.0.1:{port}{PREFIX}"
        try:
            yield service.start()
        finally:
            service.kill()


def sign_in(page: Page, service: Service, name: str = "demo") -> None:
    """Fill in the sign-in that the page shows, as one of the two clients that setup made."""
    client = json.loads((service.var / "clients" / f"{name}.json").read_text())
    page.get_by_label("Client id").fill(client["client_id"])
    page.get_by_label("Client secret").fill(client["client_secret"])
    page.get_by_role("button", name="Sign in").click()


def _tree(folder: Path) -> Path:
    """Make the project's tree with one contract more: what is code is the code that is tested."""
    folder.mkdir()
    for name in ("api", "db", "models", "migrations"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "openapi", folder / "openapi")
    (folder / "openapi/models/visits.yaml").write_text(VISITS)
    return folder


def _claims(shelf: Shelf) -> dict[str, object]:
    """Say of the second version what it is, and that it is better than the first."""
    made = shelf.manifest("2")
    return {
        "globals": made.globals, "estimator": made.estimator, "golden": made.golden,
        "metrics": {**made.metrics, **BETTER},
    }  # fmt: skip


def _visits(_: Path | None) -> DataSet:
    days = [f"2026-03-{1 + number % 31:02}" for number in range(120)]
    guests = [1 + number % 7 for number in range(120)]
    minutes = [30.0 + 10 * each for each in guests]
    frame = pd.DataFrame({"day": days, "guests": guests, "minutes": minutes})
    return DataSet(name="Made up", source="here", frame=frame)


def _pipeline() -> object:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    days = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["day"]), remainder="passthrough")
    return make_pipeline(days, LinearRegression())


_VISITS = Recipe(model="visits", title="Length of a visit", data=_visits, pipeline=_pipeline, input="frame")
