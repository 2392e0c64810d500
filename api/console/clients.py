"""Clients: who may call, with what scopes; made, given new secrets and turned away here, each on record."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for

from api.console.tables import Column, Table, shown
from api.pages import session
from api.pages.calling import ApiRefused, read, send

clients_pages = Blueprint("clients", __name__, url_prefix="/console/clients")
PATH = "/v1/clients"


@clients_pages.get("")
def clients() -> str | Response:
    """List every client."""
    table = Table(
        name="clients",
        title="Clients",
        empty="There is no client yet.",
        rows=read(PATH)["clients"],
        columns=[
            Column(name="name", title="Name"),
            Column(
                name="client_id",
                title="Id",
                link=lambda row: url_for("clients.client", name=row["client_id"]),
            ),
            Column(name="status", title="Status"),
            Column(name="scope", title="May"),
            Column(name="created_at", title="Since (UTC)", kind="time"),
            Column(name="last_used_at", title="Last used (UTC)", kind="time"),
        ],
    )
    return shown("console/clients.html", table)


@clients_pages.get("/new")
def ask() -> str:
    """Ask for the name and the scopes of a client to be."""
    return _asked([])


@clients_pages.post("/new")
def create() -> str | tuple[str, int]:
    """Make a client; its secret is on this one page and nowhere else."""
    name, scopes = request.form.get("name", "").strip(), request.form.getlist("scope")
    errors = [] if name else [{"id": "name", "text": "Enter a name"}]
    errors += [] if scopes else [{"id": "scope", "text": "Choose what it may do"}]
    if errors:
        return _asked(errors), 422
    try:
        made = send(PATH, {"name": name, "scope": " ".join(scopes)}).content
    except ApiRefused as refused:
        if refused.status not in (400, 422):
            raise
        said = [{"id": "name", "text": f"Name: {each['detail']}"} for each in refused.errors]
        return _asked(said), 422
    return render_template("console/secret.html", made=made, title="The client is made")


@clients_pages.get("/<name>")
def client(name: str) -> str:
    """Show one client, when it was last here, and what it last predicted."""
    last = read("/v1/predictions", client=name, limit=1)["predictions"]
    return render_template("console/client.html", one=read(f"{PATH}/{name}"), last=next(iter(last), None))


@clients_pages.post("/<name>/secrets")
def rotate(name: str) -> str:
    """Give another secret, shown on this one page."""
    is_leaked = request.form.get("previous") == "dead"
    asked: dict[str, Any] = {"previous_expires_in": 0} if is_leaked else {}
    made = send(f"{PATH}/{name}/secrets", asked).content
    return render_template("console/secret.html", made=made, title="The new secret")


@clients_pages.post("/<name>/disable")
def disable(name: str) -> Response:
    """Turn a client away for ever."""
    send(f"{PATH}/{name}/status", {"status": "disabled"}, "PUT")
    answer = redirect(url_for("clients.client", name=name), 303)
    assert isinstance(answer, Response)
    return answer


def _asked(errors: list[dict[str, str]]) -> str:
    said = {each["id"]: each["text"] for each in errors}
    chosen = request.form.getlist("scope")
    return render_template(
        "console/client-new.html",
        errors=errors,
        said=said,
        chosen=chosen,
        entries=request.form,
        scopes=sorted(session.needed().scopes),
    )
