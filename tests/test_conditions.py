"""Conditional requests: what has not changed is not sent again, what has changed is not overwritten unseen."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from api import conditions
from tests import auditor
from tests.service import Caller, Service

pytest_plugins = ("tests.deployments",)
ALIAS = "/v1/models/housing/aliases/champion"
TAG = re.compile(r'"[A-Za-z0-9_=-]{20}"')


def _tagged(demo: Caller) -> list[str]:
    record = demo.predict("housing", {"age": 50}).json()["record"]
    return [
        "/v1/models/housing", "/v1/models/housing/versions/1", ALIAS, f"/v1/predictions/{record}.0",
        f"/v1/records/{record}", "/.well-known/jwks.json", "/openapi.json",
    ]  # fmt: skip


def test_what_has_not_changed_is_not_sent_again(demo: Caller) -> None:
    """Each has a strong tag; If-None-Match with it, weak or in a list, is 304 with the tag and without a body."""
    for path in _tagged(demo):
        first = demo.http.get(path)
        tag = first.headers["ETag"]
        assert TAG.fullmatch(tag), path
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = demo.http.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag), (
                path,
                known,
            )
            assert answer.headers["Cache-Control"] == first.headers["Cache-Control"]
        for other in ('"other"', tag.strip('"'), tag[:-2] + '"', ""):
            answer = demo.http.get(path, headers={"If-None-Match": other})
            assert (answer.status_code, answer.content) == (200, first.content), (path, other)
        head = demo.http.head(path, headers={"If-None-Match": tag})
        assert (head.status_code, demo.http.head(path).headers["ETag"]) == (304, tag), path


def test_several_lines_of_a_condition_are_one_list(demo: Caller) -> None:
    """A header that is a list may come in several lines (RFC 9110, 5.3)."""
    tag = demo.http.get("/v1/models/housing").headers["ETag"]

    answer = demo.http.get("/v1/models/housing", headers=[("If-None-Match", '"x"'), ("If-None-Match", tag)])

    assert answer.status_code == 304


@pytest.mark.parametrize("field", ['"tag"', 'W/"tag", "x"', "*", '"x","tag"', '"tag'])
def test_only_a_strong_tag_allows_a_change(field: str) -> None:
    """If-Match compares strongly: a weak tag never matches, nor does half of one."""
    headers = {"if-match": field}

    if field in ('"tag"', "*", '"x","tag"'):
        conditions.check(headers, '"tag"')
    else:
        with pytest.raises(Exception, match="precondition-failed"):
            conditions.check(headers, '"tag"')


@pytest.fixture(scope="module")
def deployment(another: Callable[[], Path]) -> Iterator[Service]:
    """Run a deployment in which housing has two versions."""
    store = (var := another()) / "store"
    shutil.copytree("models/store", store)
    shutil.copytree(store / "housing" / "1", store / "housing" / "2")
    manifest = store / "housing" / "2" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": "2"}))
    # A version is proved in a process of its own: two seconds, on a busy machine many times that.
    service = Service(var, ONRECORD_STORE=str(store), ONRECORD_ANSWER_DEADLINE_S="120")
    try:
        service.start()
        service.command("model", "register", "housing", "2")
        yield service
        assert auditor.audit(service.database_url, {}) == []
    finally:
        service.kill()


@pytest.fixture
def two(deployment: Service) -> Service:
    """Make the first version of housing its champion again, where a test before this one replaced it."""
    with deployment.caller("admin") as admin:
        if admin.http.get(ALIAS).json()["version"] != "1":
            assert _put(admin, "1", If_Match="*").status_code == 200
    return deployment


def _put(caller: Caller, version: str, path: str = ALIAS, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return caller.http.put(path, json={"version": version}, headers=named)


def _type(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).removeprefix("/problems/")


def test_a_promotion_needs_to_know_what_it_replaces(two: Service) -> None:
    """Without a condition 428, with a stale one 412 and nothing moved; with the right one the next request is new."""
    with two.caller("admin") as admin:
        before = admin.http.get(ALIAS)
        tag = before.headers["ETag"]

        refused = [
            _put(admin, "2"),
            _put(admin, "2", If_Match='"stale"'),
            _put(admin, "2", If_Match=f"W/{tag}"),
        ]
        refused += [
            _put(admin, "2", If_None_Match="*"),
            _put(admin, "2", If_None_Match='"x"'),
            _put(admin, "9", If_Match=tag),
        ]
        unmoved = admin.http.get(ALIAS)
        moved = _put(admin, "2", If_Match=tag)
        after = admin.http.get(ALIAS)
        answered = admin.predict("housing", {"age": 50}).json()

        assert [_type(each) for each in refused] == [
            "precondition-required", "precondition-failed", "precondition-failed",
            "precondition-failed", "precondition-required", "not-found",
        ]  # fmt: skip
        assert (unmoved.content, unmoved.headers["ETag"]) == (before.content, tag)
        assert moved.status_code == 200, moved.text
        assert (moved.content, moved.headers["ETag"]) == (after.content, after.headers["ETag"])
        assert moved.headers["Content-Location"] == ALIAS
        assert (after.json()["version"], after.json()["previous"], answered["version"]) == ("2", "1", "2")
        assert _type(_put(admin, "1", If_Match=tag)) == "precondition-failed"


def test_a_promotion_is_on_record_like_the_command(two: Service) -> None:
    """The record says what was asked and by whom, in the very words of `python -m api model promote`."""
    with two.caller("admin") as admin:
        moved = _put(admin, "2", If_Match="*")
        two.command("model", "promote", "housing", "1")
        receipt = moved.headers["OnRecord-Receipt"]

    with contextlib.closing(sqlite3.connect(two.var / "onrecord.db")) as connection:
        rows = connection.execute(
            "SELECT client_id, input FROM record JOIN payload ON payload.record_id = record.id ORDER BY idx"
        ).fetchall()
    changes = [(client, json.loads(said)) for client, said in rows[-2:]]
    assert [change["args"]["version"] for _, change in changes] == ["2", "1"]
    assert [change["change"] for _, change in changes] == ["model.promote"] * 2
    assert changes[0][1]["args"].keys() == changes[1][1]["args"].keys() == {"model", "version", "alias"}
    assert (changes[0][0], changes[1][0]) == (admin.client_id, "command-line")
    assert f"index={len(rows) - 2}" in receipt


def test_of_many_promotions_at_once_one_wins(two: Service) -> None:
    """However many saw the same alias, one moves it and the others are told that it moved."""
    with two.caller("admin") as admin, ThreadPoolExecutor(8) as pool:
        tag = admin.http.get(ALIAS).headers["ETag"]
        answers = list(pool.map(lambda _: _put(admin, "2", If_Match=tag), range(16)))

        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 15


def test_an_alias_is_made_where_none_is(two: Service) -> None:
    """If-None-Match: * makes a new alias, once; an absent one is 404, and 412 for whoever thinks it is there."""
    challenger = ALIAS.replace("champion", "challenger")
    with two.caller("admin") as admin:
        absent = [
            admin.http.get(challenger),
            _put(admin, "2", challenger, If_Match="*"),
            _put(admin, "2", challenger),
        ]
        made = _put(admin, "2", challenger, If_None_Match="*")
        again = _put(admin, "1", challenger, If_None_Match="*")
        answered = admin.predict("housing", {"age": 50}, alias="challenger").json()

        assert [_type(each) for each in absent] == [
            "not-found",
            "precondition-failed",
            "precondition-required",
        ]
        assert (made.status_code, made.json()["version"], "previous" in made.json()) == (200, "2", False)
        assert (_type(again), answered["version"]) == ("precondition-failed", "2")


def test_a_promotion_needs_its_scope(service: Service, demo: Caller) -> None:
    """A caller that may predict and read may not promote, and an unknown model is 404 before any condition."""
    assert _put(demo, "1", If_Match="*").status_code == 403
    with service.caller("admin") as admin:
        assert _type(_put(admin, "1", "/v1/models/nothing/aliases/champion")) == "not-found"
