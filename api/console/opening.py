"""One prediction on one page: what went in and came out, who asked, what made it, its proof, and its replays."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from flask import Blueprint, Response, abort, redirect, render_template, url_for

from api.console.proofs import digest, picture
from api.console.tables import Column, Table, shown
from api.pages import session
from api.pages.calling import ApiRefused, Question, ask, read

opening = Blueprint("opening", __name__, url_prefix="/console")
PARTS = ("input", "output")
MOST_SHOWN = 8_000  # characters of a body; the whole is a file away


@opening.get("/predictions/<name>")
def prediction(name: str) -> str:
    """Show a prediction, or what is left of one that was erased."""
    record, _, position = name.partition(".")
    if not position.isdecimal():
        abort(404)
    kept, found = read(f"/v1/records/{record}"), _found(name)
    outcome = _outcome(name) if found and found["has_outcome"] else None
    why = (found or {}).get("prediction", {}).get("contributions", ())
    return render_template(
        "console/prediction.html",
        name=name,
        position=int(position),
        kept=kept,
        found=found,
        outcome=outcome,
        why=sorted(why, key=lambda each: -abs(each["contribution"])),
        bodies={part: _body(kept, part) for part in PARTS},
        proof=_proof(record),
        meta=kept.get("meta") or {},
        scopes=session.needed().scopes,
    )


@opening.get("/records/<record>/<part>.json")
def part(record: str, part: str) -> Response:
    """Give the exact bytes of request or answer as a file."""
    kept = read(f"/v1/records/{record}")
    if part not in kept or part not in PARTS:
        abort(404)
    headers = {"Content-Disposition": f'attachment; filename="{part}-{record}.json"'}
    return Response(base64.b64decode(kept[part]), content_type="application/json", headers=headers)


@opening.post("/predictions/<name>/replay")
def replay(name: str) -> Response:
    """Have a prediction replayed, and lead to the record of that."""
    path = f"/v1/predictions/{name}/replay"
    answered = ask(Question(method="POST", path=path, token=session.token()))
    return _to(url_for("opening.replayed", record=answered.content["replay"], of=name))


@opening.get("/replays/<record>")
def replayed(record: str) -> str | Response:
    """Show a replay: the verdict, and every difference beside what was recorded."""
    kept = read(f"/v1/records/{record}")
    if kept["kind"] != "replay" or "output" not in kept:
        abort(404)
    found = orjson.loads(base64.b64decode(kept["output"]))
    return shown(
        "console/replay.html",
        _differences(found["differences"]),
        kept=kept,
        found=found,
        sides={each: pretty(found[each]["body"]) for each in ("recorded", "replayed")},
    )


def _differences(found: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        name="differences",
        title="Differences",
        empty="",
        rows=[{"recorded": "absent", "replayed": "absent", **each} for each in found],
        columns=[
            Column(name="pointer", title="Where", kind="code"),
            Column(name="recorded", title="Recorded"),
            Column(name="replayed", title="Replayed", kind="marked"),
            Column(name="difference", title="Off by", kind="number"),
        ],
    )


def _found(name: str) -> Any:
    try:
        return read(f"/v1/predictions/{name}")
    except ApiRefused as refused:
        if refused.status == 410:
            return None
        raise


def _outcome(name: str) -> Any:
    try:
        return read(f"/v1/predictions/{name}/outcome")
    except ApiRefused as refused:
        if refused.status in (404, 410):
            return None
        raise


def _proof(record: str) -> Any:
    try:
        return picture(read(f"/v1/records/{record}/receipt"))
    except ApiRefused as refused:
        if refused.status in (404, 410):
            return (
                None  # the checkpoint of the last second is not signed yet, or there is nothing left to prove
            )
        raise


def _body(kept: Mapping[str, Any], part: str) -> dict[str, Any] | None:
    if part not in kept:
        return None
    raw = base64.b64decode(kept[part])
    text = raw.decode("utf-8", "replace")
    try:
        fine = pretty(orjson.loads(raw))
    except orjson.JSONDecodeError:
        fine = text
    return {
        "raw": text[:MOST_SHOWN],
        "pretty": fine[:MOST_SHOWN],
        "is_cut": max(len(text), len(fine)) > MOST_SHOWN,
        "bytes": len(raw),
        "digest": digest(raw),
    }


def pretty(content: Any) -> str:
    """Write JSON for people."""
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def _to(place: str) -> Response:
    answer = redirect(place, 303)
    assert isinstance(answer, Response)
    return answer
