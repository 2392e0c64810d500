"""Legal holds: what may not be erased, begun from a prediction and lifted with a reason."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for

from api.console.tables import Column, Table, shown, zoned
from api.pages import session
from api.pages.calling import ApiRefused, read, send

holding = Blueprint("holding", __name__, url_prefix="/console/holds")


@holding.get("")
def holds() -> str | Response:
    """List every hold, with what lifts it."""
    rows = [_row(each) for each in read("/v1/holds")["holds"]]

    def lifted(row: Any) -> str | None:
        can = row["active"] and "audit:erase" in session.needed().scopes
        return url_for("holding.ask", hold=row["hold"]) if can else None

    table = Table(
        name="holds",
        title="Holds",
        empty="Nothing is held. Open a prediction and choose “Hold it” to keep it from being erased.",
        rows=rows,
        columns=[
            Column(name="at", title="Since (UTC)", kind="time"),
            Column(name="by", title="On a"),
            Column(name="what", title="Which"),
            Column(name="reason", title="Reason"),
            Column(name="until", title="Until (UTC)", kind="time"),
            Column(name="active", title="Holds now", kind="yes"),
            Column(name="hold", title="Lift it", link=lifted),
        ],
    )
    return shown("console/holds.html", table)


@holding.get("/ask")
def ask() -> str:
    """Ask why, to hold a prediction or to lift a hold."""
    return _asked([])


@holding.post("/ask")
def change() -> str | tuple[str, int] | Response:
    """Begin or lift a hold; it is on record then."""
    reason = request.form.get("reason", "").strip()
    if not reason:
        return _asked([{"id": "reason", "text": "Enter the reason, in your words"}]), 422
    until = request.form.get("until", "").strip()
    try:
        if "hold" in request.args:
            send(f"/v1/holds/{request.args['hold']}/lift", {"reason": reason})
        else:
            asked = {"select": {"prediction": request.args["prediction"]}, "reason": reason}
            send("/v1/holds", asked | ({"until": zoned(until)} if until else {}))
    except ApiRefused as refused:
        if refused.status not in (400, 422):
            raise
        return _asked([{"id": "reason", "text": each["detail"]} for each in refused.errors]), 422
    answer = redirect(url_for("holding.holds"), 303)
    assert isinstance(answer, Response)
    return answer


def _asked(errors: list[dict[str, str]]) -> str:
    if not {"hold", "prediction"} & set(request.args):
        abort(404)
    said = {each["id"]: each["text"] for each in errors}
    return render_template("console/hold.html", errors=errors, said=said, entries=request.form)


def _row(hold: dict[str, Any]) -> dict[str, Any]:
    what = hold.get("record") or hold.get("client") or hold.get("model")
    return {**hold, "what": what}
