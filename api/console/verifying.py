"""Verifications as pages: started with a form, followed on a page that loads itself again, each with an address.

No script is needed for that: a header tells the browser when to look again, and a link makes it stop, for whoever reads
more slowly.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, url_for

from api.console.tables import Column, Row, Table, shown, wants_csv
from api.pages import session
from api.pages.calling import Question, ask, read
from api.pages.locales import number

verifying = Blueprint("verifying", __name__, url_prefix="/console/ledger/verifications")
PATH = "/v1/ledger/verifications"
AGAIN_S = 3


@verifying.get("")
def verifications() -> str | Response:
    """List them, the last first."""
    before = request.args.get("before") or None
    page = {"verifications": _all()} if wants_csv() else read(PATH, before=before)
    table = Table(
        name="verifications",
        title="Verifications, the last first",
        empty="Nothing was verified yet. Start one on the page of the ledger, or run python -m api verify.",
        rows=[each | {"said": headline(each)} for each in page["verifications"]],
        columns=[
            Column(name="started_at", title="Started (UTC)", kind="time", link=_opened),
            Column(name="said", title="What came of it"),
            Column(name="by", title="By"),
            Column(name="via", title="Through"),
            Column(name="size", title="Records", kind="number"),
            Column(name="found", title="Findings", kind="number"),
            *(
                [Column(name=name, title=name) for name in ("verification", "exit_code", "of", "since")]
                if wants_csv()
                else []
            ),
        ],
    )
    older = url_for("verifying.verifications", before=page["next"]) if "next" in page else None
    return shown("console/verifications.html", table, older=older)


@verifying.post("")
def start() -> Response:
    """Start one of everything or of what is new, and lead to it, or to the one that runs."""
    query = {"of": request.form.get("of", "everything")}
    answered = ask(Question(method="POST", path=PATH, query=query, token=session.token()))
    return _to(answered.content)


@verifying.get("/<name>")
def verification(name: str) -> str | Response:
    """Show what one found, or how far it is."""
    found = read(f"{PATH}/{name}")
    table = Table(
        name=f"findings-{name}",
        title="Findings",
        empty="",
        rows=found.get("findings", []),
        columns=[
            Column(name="at", title="Record", kind="number"),
            Column(name="cause", title="What is wrong"),
            Column(name="detail", title="How"),
        ],
    )
    content = shown("console/verification.html", table, found=found, said=headline(found), again_s=AGAIN_S)
    answer = make_response(content)
    if found["state"] == "running" and not request.args.get("still"):
        answer.headers["Refresh"] = str(AGAIN_S)
    return answer


@verifying.post("/<name>/cancel")
def cancel(name: str) -> Response:
    """End one, and show how it ended."""
    answered = ask(Question(method="POST", path=f"{PATH}/{name}/cancel", token=session.token()))
    return _to(answered.content)


def headline(found: Mapping[str, Any]) -> str:
    """Say in a sentence what came of a verification."""
    match found["state"], found.get("exit_code"):
        case "running", _:
            return "Running"
        case "finished", 0:
            return f"Intact: {_records(found)}, anchored up to {number(found['anchored'])}"
        case "finished", 3:
            return f"Consistent, but not anchored: {_records(found)}"
        case "finished", _:
            many = "1 finding" if found["found"] == 1 else f"{number(found['found'])} findings"
            first = next((each["at"] for each in found["findings"] if "at" in each), None)
            return f"Changed: {many} in {_records(found)}" + (
                "" if first is None else f", the first at record {first}"
            )
        case "failed", _:
            return "Failed: nothing was found out"
        case state, _:
            return f"{state.capitalize()} before it was done"


def is_good(found: Mapping[str, Any]) -> bool:
    """Say whether a verification found everything as it must be."""
    return found.get("exit_code") == 0


def latest() -> dict[str, Any]:
    """Return the one that runs, and the last with a verdict, among the newest; and the one after that without one.

    `whole` is the last with a verdict that read everything.
    """
    page = read(PATH)["verifications"]
    running = next((each for each in page if each["state"] == "running"), None)
    last = next((each for each in page if each["state"] == "finished"), None)
    later = next((each for each in page if each["state"] != "running"), None)
    whole = next((each for each in page if each["state"] == "finished" and not each["since"]), None)
    return {"running": running, "last": last, "later": None if later is last else later, "whole": whole}


def ago(text: str) -> str:
    """Say how long ago a time of the API was, in the largest unit that there is one of at least."""
    seconds = max(0, int(time.time() - datetime.datetime.fromisoformat(text).timestamp()))
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if count := seconds // unit:
            return f"{count} {name}{'s' * (count != 1)} ago"
    return "less than a minute ago"


def _all() -> list[dict[str, Any]]:
    """Read every verification there is, for a file: a few a day, of some hundred bytes."""
    found: list[dict[str, Any]] = []
    before: str | None = None
    while True:
        page = read(PATH, limit=100, before=before)
        found += page["verifications"]
        if (before := page.get("next")) is None:
            return found


def _records(found: Mapping[str, Any]) -> str:
    since = found["since"]
    read = found["checked"] - since
    records = "1 record" if read == 1 else f"{number(read)} records"
    return f"{records} after the first {number(since)}, which were not read again" if since else records


def _opened(row: Row) -> str:
    return url_for("verifying.verification", name=row["verification"])


def _to(found: Mapping[str, Any]) -> Response:
    answer = redirect(url_for("verifying.verification", name=found["verification"]), 303)
    assert isinstance(answer, Response)
    return answer
