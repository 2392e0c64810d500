"""Erasing a prediction: ground and reason, then what would go, then the deed, which is on record like everything."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for

from api.pages.calling import ApiRefused, read, send

erasing = Blueprint("erasing", __name__, url_prefix="/console")
GROUNDS = {
    "data-subject-request": "The person asked for it",
    "consent-withdrawn": "Consent was withdrawn",
    "retention": "It was kept long enough",
    "legal-obligation": "The law demands it",
    "court-order": "A court ordered it",
    "error": "It should never have been recorded",
    "other": "Another ground, named in the reason",
}


@erasing.get("/predictions/<name>/erase")
def ask(name: str) -> str:
    """Ask on what ground and why."""
    return _page("console/erase.html", name, request.args)


@erasing.post("/predictions/<name>/erase")
def erase(name: str) -> str | tuple[str, int] | Response:
    """Show what would go, or let it go where that was seen and confirmed."""
    entries = {each: request.form.get(each, "").strip() for each in ("ground", "reason", "once")}
    errors = _wrong(entries)
    if errors:
        return _page("console/erase.html", name, entries, errors=errors), 422
    is_confirmed = request.form.get("step") == "erase"
    asked = {
        "select": {"prediction": name},
        "ground": entries["ground"],
        "reason": entries["reason"],
        "dry_run": not is_confirmed,
    }
    once = {"Idempotency_Key": entries["once"]} if is_confirmed else {}
    try:
        done = send("/v1/erasures", asked, **once).content
    except ApiRefused as refused:
        if refused.status not in (400, 422):
            raise
        said = [{"id": "reason", "text": f"Reason: {each['detail']}"} for each in refused.errors]
        return _page("console/erase.html", name, entries, errors=said or _said(refused)), 422
    if not is_confirmed:
        entries["once"] = secrets.token_urlsafe(16)
        return _page("console/erase-check.html", name, entries, done=done, words=GROUNDS[entries["ground"]])
    answer = redirect(url_for("opening.prediction", name=name), 303)
    assert isinstance(answer, Response)
    return answer


def _said(refused: ApiRefused) -> list[dict[str, str]]:
    return [{"id": "reason", "text": str(refused)}]


def _wrong(entries: Mapping[str, str]) -> list[dict[str, str]]:
    errors = []
    if entries["ground"] not in GROUNDS:
        errors.append({"id": "ground", "text": "Choose the ground"})
    if not entries["reason"]:
        errors.append({"id": "reason", "text": "Enter the reason, in your words"})
    return errors


def _page(template: str, name: str, entries: Mapping[str, str], **more: Any) -> str:
    kept = read(f"/v1/records/{name.partition('.')[0]}")
    more.setdefault("errors", [])
    said = {each["id"]: each["text"] for each in more["errors"]}
    return render_template(
        template, name=name, kept=kept, entries=entries, grounds=GROUNDS, said=said, **more
    )
