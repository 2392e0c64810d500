"""Models and their versions: how good each is, what it learnt from, and which one an alias means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, abort, redirect, request, url_for
from werkzeug.exceptions import Forbidden

from api.console.tables import Column, Table, shown
from api.pages import calling, session
from api.pages.calling import Answered, ApiRefused, Question, read, send
from api.plots import measured as plots

versioned = Blueprint("versioned", __name__, url_prefix="/console/models")
ALIAS, NEEDED = "champion", "models:write"


@versioned.get("")
def models() -> str | Response:
    """List the models of the contract."""
    table = Table(
        name="models",
        title="Models",
        empty="No model is described in openapi/models/ yet.",
        rows=[_flat(each) for each in read("/v1/models")["models"]],
        columns=[
            Column(
                name="model", title="Model", link=lambda row: url_for("versioned.model", model=row["model"])
            ),
            Column(name="title", title="Title"),
            Column(name="kind", title="Kind"),
            Column(name="champion", title="Champion"),
            Column(name="metric", title="How good"),
        ],
    )
    return shown("console/models.html", table)


@versioned.get("/<model>")
def model(model: str) -> str | Response:
    """Show a model's versions beside each other, and let the champion be changed."""
    about = read(f"/v1/models/{model}")
    versions = read(f"/v1/models/{model}/versions")["versions"]
    metrics = list(dict.fromkeys(name for each in versions for name in each.get("metrics", {})))
    table = Table(
        name=f"versions-{model}",
        title="Versions, newest first",
        empty=f"No version is registered: python -m models.train {model}, then python -m api model register.",
        rows=[_version(each) for each in versions],
        columns=[
            Column(name="version", title="Version"),
            Column(name="aliases", title="Aliases"),
            *(Column(name=each, title=each, kind="fixed") for each in metrics),
            Column(name="data", title="Learnt from"),
            Column(name="trained_at", title="Trained (UTC)", kind="time"),
            Column(name="registered_at", title="Registered (UTC)", kind="time"),
            Column(name="digest", title="Artefact", kind="digest"),
        ],
    )
    champion, alias = _champion(versions), _alias(model)
    features = [each for each in (champion or {}).get("features", ()) if "importance" in each]
    return shown(
        "console/model.html",
        table,
        about=about,
        pictures=_pictures(about),
        alerts=_alerts(model),
        champion=champion,
        features=sorted(features, key=lambda each: -each["importance"]),
        largest=max((each["importance"] for each in features), default=1) or 1,
        alias=None if alias is None else alias.content,
        others=[each["version"] for each in versions if each is not champion],
        may_change=NEEDED in session.needed().scopes,
    )


@versioned.get("/<model>/champion")
def ask(model: str) -> str | Response:
    """Hold another version against the champion, and say what would happen; nothing does yet."""
    who = session.needed()
    if NEEDED not in who.scopes:
        raise Forbidden(f"To let another version answer, a client needs the scope {NEEDED}.")
    about = read(f"/v1/models/{model}")
    versions = read(f"/v1/models/{model}/versions")["versions"]
    name = request.args.get("version", "")
    chosen = next((each for each in versions if each["version"] == name), None)
    if chosen is None:
        abort(404)
    champion, alias = _champion(versions), _alias(model)
    return shown(
        "console/promote.html",
        _compared(model, champion, chosen),
        about=about,
        champion=champion,
        chosen=chosen,
        etag=None if alias is None else alias.headers["ETag"],
        who=who,
    )


@versioned.post("/<model>/champion")
def promote(model: str) -> Response:
    """Let another version answer from the next request on; refused where somebody changed it meanwhile."""
    etag = request.form.get("etag", "")
    condition = {"If_Match": etag} if etag else {"If_None_Match": "*"}
    send(
        f"/v1/models/{model}/aliases/{ALIAS}",
        {"version": request.form.get("version", "")},
        "PUT",
        **condition,
    )
    answer = redirect(url_for("versioned.model", model=model), 303)
    assert isinstance(answer, Response)
    return answer


def _pictures(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the pictures of what became of the model's predictions, each drawn when it is looked at."""
    model, labels = about["model"], about["output"].get("labels", ())
    names = [plots.PROGRESS, *(["roc", "calibration"] if len(labels) == 2 else [])]
    names += ["confusion"] if labels else ["actuals", "residuals"]
    return [(url_for("measured.plot", model=model, plot=name), plots.SAID[name]) for name in names]


def _alerts(model: str) -> list[dict[str, Any]] | None:
    """Ask for the alerts, which the engine knows; None while it does not answer."""
    try:
        found: list[dict[str, Any]] = read(f"/v1/models/{model}/alerts")["alerts"]
    except ApiRefused as refused:
        if refused.status != 503:
            raise
        return None
    return found


def _champion(versions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((each for each in versions if ALIAS in each["aliases"]), None)


def _alias(model: str) -> Answered | None:
    """Ask what the alias means, since when, and what it meant before; None where it means nothing yet."""
    path = f"/v1/models/{model}/aliases/{ALIAS}"
    try:
        return calling.ask(Question(method="GET", path=path, token=session.token()))
    except ApiRefused as refused:
        if refused.status != 404:
            raise
        return None


def _compared(model: str, champion: Mapping[str, Any] | None, chosen: Mapping[str, Any]) -> Table:
    sides = {f"version {each['version']}": each for each in (champion, chosen) if each is not None}
    metrics = list(dict.fromkeys(name for each in sides.values() for name in each.get("metrics", {})))
    return Table(
        name=f"compared-{model}",
        title="As they did on the rows held out of training",
        empty="Neither version came with measures.",
        rows=[
            {"metric": each} | {name: side.get("metrics", {}).get(each) for name, side in sides.items()}
            for each in metrics
        ],
        columns=[
            Column(name="metric", title="Metric"),
            *(Column(name=name, title=name.capitalize(), kind="fixed") for name in sides),
        ],
    )


def _flat(model: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(model.get("metrics", {}).items()), None)
    return {**model, "metric": None if first is None else f"{first[0]} {first[1]:.4f}"}


def _version(version: dict[str, Any]) -> dict[str, Any]:
    data = version.get("data")
    about = (
        None
        if data is None
        else f"{data['name']} ({data['source']}), {data['train_rows']} of {data['rows']} rows"
    )
    return {**version, **version.get("metrics", {}), "aliases": ", ".join(version["aliases"]), "data": about}
