"""Reporting what really happened, in the words of the tests."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tests.rigged import golden_instances
from tests.service import Caller, Service

SCOPE = "predict predictions:read outcomes:write"


def reporter(service: Service, name: str = "reporter") -> Caller:
    """Let in a program that predicts and reports, and sees nothing of others."""
    with service.caller("admin") as admin:
        made = admin.http.post("/v1/clients", json={"name": name, "scope": SCOPE}).json()
    return Caller(service.url, made["client_id"], made["client_secret"])


def predicted(caller: Caller, model: str = "housing", *references: str) -> list[str]:
    """Predict once for each of these references, or once without one; return the predictions' ids."""
    (instance,) = golden_instances(model, 1)
    instances = [{**instance, "reference": each} for each in references] or [instance]
    return [each["id"] for each in caller.predict(model, *instances).json()["predictions"]]


def put(caller: Caller, prediction: str, value: Any, **more: Any) -> httpx.Response:
    """Report one outcome; a record of it is remembered byte for byte."""
    headers = more.pop("headers", {})
    body = {"value": value, **more}
    answer = caller.http.put(f"/v1/predictions/{prediction}/outcome", json=body, headers=headers)
    return _remembered(caller, answer)


def report(caller: Caller, *rows: Mapping[str, Any], **headers: str) -> httpx.Response:
    """Report many outcomes as JSON."""
    answer = caller.http.post("/v1/outcomes", json={"outcomes": list(rows)}, headers=headers)
    return _remembered(caller, answer)


def upload(caller: Caller, media: str, content: bytes) -> httpx.Response:
    """Report many outcomes in another format."""
    return _remembered(
        caller, caller.http.post("/v1/outcomes", content=content, headers={"Content-Type": media})
    )


def statuses(answer: httpx.Response) -> Sequence[str]:
    """Say what became of each row, and why where it was refused."""
    assert answer.status_code in (200, 201), answer.text
    return [each.get("reason", each["status"]) for each in answer.json()["results"]]


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Name the problem."""
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


def _remembered(caller: Caller, answer: httpx.Response) -> httpx.Response:
    if "location" in answer.headers:
        caller.seen[answer.json()["record"]] = answer.content
    return answer


def lived(service: Service, count: int = 150) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Have much predicted and reported on, as likely as was said: since when, what was said, what happened."""
    chance = random.Random(17)
    instances = [
        {"X1": round(chance.gauss(0, 2), 3), "X2": round(chance.gauss(0, 1), 3)} for _ in range(count)
    ]
    with reporter(service, "reporter of much") as mine:
        answered = mine.predict("two-features", *instances).json()["predictions"]
        happened = ["01"[chance.random() < each["probability"]] for each in answered]
        rows = [
            {"prediction": each["id"], "value": value} for each, value in zip(answered, happened, strict=True)
        ]
        assert set(statuses(report(mine, *rows))) == {"recorded"}
        found = mine.http.get("/v1/predictions", params={"limit": "1"}).json()["predictions"]
    return found[0]["at"], answered, happened
