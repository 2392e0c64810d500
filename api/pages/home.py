"""The start page: which models there are, what each answers, how good it is and how much it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, render_template

from api.composition import ModelContract
from api.contract import Contract
from api.pages import session
from api.pages.access import Access
from api.pages.calling import read
from api.pages.measures import measures


def create_home(contract: Contract, access: Access) -> Blueprint:
    """Build the start page of these models."""
    home = Blueprint("home", __name__)

    @home.get("/")
    def start() -> str:
        served = _served()
        models = [
            {
                "contract": each,
                "about": about(each),
                "is_public": name in access.public,
                "measures": measures(served.get(name, {}).get("metrics", {})),
                "champion": served.get(name, {}).get("champion"),
                "usage": read(f"/v1/models/{name}/usage") if name in served else None,
            }
            for name, each in sorted(contract.models.items())
        ]
        return render_template("start.html", models=models)

    return home


def about(model: ModelContract) -> str:
    """Return the sentence that says what a model answers."""
    return re.split(r"(?<=[.])\s+(?=[A-Z])", model.description, maxsplit=1)[0]


def _served() -> Mapping[str, Mapping[str, Any]]:
    """Ask for versions and metrics; a stranger, or a client that may not read models, sees the contract only."""
    signed = session.signed()
    if signed is None or "models:read" not in signed.scopes:
        return {}
    return {each["model"]: each for each in read("/v1/models")["models"]}
