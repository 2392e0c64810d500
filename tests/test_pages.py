"""The frame of the pages: who is signed in, where a sign-in leads, what is refused, what every answer carries."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx
import pytest
from cryptography.fernet import Fernet

from api.keys import read_cursor_key
from api.pages.session import derived
from tests.pages import Person, hidden
from tests.proxy import wait
from tests.service import Caller, Service

pytestmark = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
ELSEWHERE = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "evil",
    "/\tx",
    "javascript:alert(1)",
    "/a\\b",
]


@pytest.fixture
def person(service: Service) -> Iterator[Person]:
    """Stand in front of the pages, not signed in."""
    with Person(service) as someone:
        yield someone


def test_a_sign_in_leads_back(person: Person) -> None:
    """Who signs in is back on the page that asked for it, and sees as whom."""
    answer = person.sign_in(next="/?from=somewhere")

    page = person.follow(answer)

    assert person.place(answer) == "/?from=somewhere"
    assert "Signed in as <b>demo-" in page.text


@pytest.mark.parametrize("place", ELSEWHERE)
def test_no_sign_in_leads_elsewhere(person: Person, place: str) -> None:
    """An address that is not ours is the start page."""
    assert person.place(person.sign_in(next=place)) == "/"


def test_a_wrong_secret_loses_nothing_but_itself(person: Person) -> None:
    """The page says what is wrong, above and beside the field, keeps the id and never shows the secret."""
    answer = person.send("/sign-in", {"client_id": "demo<i>", "client_secret": "not-this-one"})

    assert answer.status_code == 401
    assert answer.text.count("The client id or the client secret is wrong") == 2
    assert 'href="#client_secret"' in answer.text
    assert 'value="demo&lt;i&gt;"' in answer.text
    assert "not-this-one" not in answer.text


def test_nothing_entered_is_said_beside_each_field(person: Person) -> None:
    """An empty form names both fields and says what to enter."""
    answer = person.send("/sign-in", {})

    assert answer.status_code == 400
    assert answer.text.count("Enter the client id") == 2
    assert answer.text.count("Enter the client secret") == 2


def test_the_cookie_holds_no_secret(person: Person) -> None:
    """Neither secret nor token can be read from the cookie; no script can read it, no other site sends it along."""
    client = json.loads((person.service.var / "clients" / "demo.json").read_text())

    cookie = person.sign_in().headers["Set-Cookie"]

    assert all(each in cookie for each in ("HttpOnly", "SameSite=Lax", "Path=/"))
    value = person.http.cookies["onrecord"]
    raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    for part in (client["client_id"], client["client_secret"], "eyJ", "scope"):
        assert part not in value
        assert part.encode() not in raw


def test_a_forged_cookie_signs_nobody_in(person: Person) -> None:
    """A cookie that was changed in one place is no session."""
    person.sign_in()
    value = person.http.cookies["onrecord"]
    person.http.cookies.clear()
    person.http.cookies["onrecord"] = value[:-9] + ("A" if value[-9] != "A" else "B") + value[-8:]

    assert "Signed in as" not in person.look("/").text


def test_who_signs_out_is_out(person: Person) -> None:
    """After signing out the start page greets a stranger."""
    person.sign_in()

    answer = person.send("/sign-out", {}, seen="/")

    assert answer.status_code == 303
    assert "Signed in as" not in person.follow(answer).text


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(person: Person) -> None:
    """Signing out voids the token itself: neither a stolen cookie nor the token in it does anything any more."""
    person.sign_in()
    key = base64.urlsafe_b64encode(derived(read_cursor_key(person.service.var), b"pages: session"))
    token = json.loads(Fernet(key).decrypt(person.http.cookies["onrecord"]))["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    with Person(person.service) as thief:
        thief.http.cookies.update(person.http.cookies)
        before = (
            thief.look("/models/income").status_code,
            thief.http.get("/v1/models", headers=bearer).status_code,
        )
        person.send("/sign-out", {}, seen="/")
        after = thief.look("/models/income"), thief.look("/sign-out-everywhere"), thief.look("/")
        program = thief.http.get("/v1/models", headers=bearer).status_code

    assert before == (200, 200)
    assert [each.status_code for each in after] == [303, 303, 200]
    assert "Signed in as" not in after[2].text
    assert program == 401


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_a_forged_form_is_refused(person: Person, path: str) -> None:
    """A form without the session's own token, or with another session's, does nothing."""
    person.sign_in()
    with Person(person.service) as other:
        stolen = hidden(other.look("/sign-in").text, "csrf_token")

    answers = [person.http.post(path, data=form) for form in ({}, {"csrf_token": stolen})]

    assert [each.status_code for each in answers] == [400, 400]
    assert "Nothing was done" in answers[0].text
    assert "Signed in as" in person.look("/").text


def test_a_form_of_another_site_is_refused(person: Person) -> None:
    """What a browser says comes from another site is refused, even with the right token."""
    person.sign_in()
    token = hidden(person.look("/").text, "csrf_token")

    answer = person.http.post(
        "/sign-out", data={"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert answer.status_code == 403
    assert "Signed in as" in person.look("/").text


def test_a_used_form_is_worth_nothing_after_signing_out(person: Person) -> None:
    """What was sent once, with the cookie of then removed, cannot be sent again."""
    person.sign_in()
    token = hidden(person.look("/").text, "csrf_token")
    assert person.http.post("/sign-out", data={"csrf_token": token}).status_code == 303
    person.sign_in()

    assert person.http.post("/sign-out", data={"csrf_token": token}).status_code == 400


@pytest.mark.parametrize("path", ["/", "/sign-in", "/nowhere", "/problems/not-found"])
def test_every_page_allows_nothing_else(person: Person, path: str) -> None:
    """No script, no inline style, no frame, no other host, no copy in a cache; and it is small."""
    person.sign_in()

    answer = person.look(path)

    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; ")
    assert "unsafe" not in policy and "script-src" not in policy
    assert len(answer.content) < 60_000
    assert "<script" not in answer.text and "style=" not in answer.text


def test_the_stylesheet_is_small(person: Person) -> None:
    """One stylesheet, below 20 kB, that asks for nothing more."""
    sheet = person.look("/static/page.css")

    assert len(sheet.content) < 20_000
    assert "url(" not in sheet.text and "@import" not in sheet.text


def test_a_form_beyond_any_of_ours_is_not_read(person: Person) -> None:
    """More than a form can hold is refused before a page is asked."""
    answer = person.http.post(
        "/sign-in",
        content=b"a=" + b"b" * (300 << 10),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 413


def test_many_people_at_once_do_not_lock_the_door(person: Person) -> None:
    """Pages that ask the API from every thread there is all get their answer."""
    import concurrent.futures

    person.sign_in()
    cookies = dict(person.http.cookies)

    def look(_: int) -> int:
        return httpx.get(f"{person.service.url}/", cookies=cookies, timeout=60).status_code

    with concurrent.futures.ThreadPoolExecutor(24) as crowd:
        assert set(crowd.map(look, range(48))) == {200}


def test_who_signs_out_everywhere_is_out_everywhere(person: Person) -> None:
    """With the secret, every token of the client is void: in another browser, and in its programs."""
    with person.service.caller("admin") as admin, Person(person.service) as other:
        made = admin.http.post("/v1/clients", json={"name": "walker", "scope": "models:read"}).json()
        credentials = {name: made[name] for name in ("client_id", "client_secret")}
        for each in (person, other):
            assert each.send("/sign-in", credentials).status_code == 303
        program = Caller(person.service.url, **credentials)

        wrong = person.send("/sign-out-everywhere", {"client_secret": "no"})
        still = person.look("/models/income").status_code
        answer = person.send("/sign-out-everywhere", {"client_secret": made["client_secret"]})

        assert (wrong.status_code, still, answer.status_code) == (401, 200, 303)
        wait(lambda: program.http.get("/v1/models").status_code == 401)
        wait(lambda: other.look("/models/income").status_code == 303)
        program.http.close()
