"""The pages in a real browser, behind a prefix: journeys to an answer, with JavaScript and without, and axe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browsing import ARTEFACTS, sign_in
from tests.pages import Person
from tests.proxy import wait
from tests.service import Service

PICTURES = ARTEFACTS / "pages"
WIDTHS = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
TEXT = "<b>\"'&</b> \u202eשלום 👩‍👧 {{7*7}}"
STRANGE = (400, 401, 422, 429)  # statuses that a journey provokes on purpose; a browser logs them as errors


@contextmanager
def _person(browser: Browser, service: Service, *, has_script: bool = True) -> Iterator[Page]:
    """Open a browser of one's own; what it logs as an error, or asks of another host, fails the test."""
    with ExitStack() as stack:
        context = browser.new_context(java_script_enabled=has_script, locale="en-GB")
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(30_000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda line: problems.append(line.text) if _is_wrong(line.type, line.text) else None
        )
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((service.url, "data:")) else problems.append(asked.url)
            ),
        )
        yield page
        assert problems == []


def _is_wrong(kind: str, text: str) -> bool:
    return kind == "error" and not any(f"status of {each} " in text for each in STRANGE)


def _look_at(page: Page, name: str) -> None:
    """Ask axe, in light and dark; keep a picture at each width; nothing may be wider than the window."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two it knows
        for width, size in WIDTHS.items():
            page.set_viewport_size(size)  # type: ignore[arg-type]  # width and height
            page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_a_person_gets_from_the_sign_in_to_an_answer(browser: Browser, behind_a_prefix: Service) -> None:
    """From a link to a form, through the sign-in, wrong entries and an example, to the answer and its receipt."""
    with _person(browser, behind_a_prefix) as page:
        page.goto(f"{behind_a_prefix.url}/models/income")
        _look_at(page, "sign-in")
        sign_in(page, behind_a_prefix)
        expect(page).to_have_title("Income above 50,000 $ a year – OnRecord")
        _look_at(page, "form")
        page.get_by_role("button", name="Get the answer").click()
        expect(page.get_by_role("alert")).to_be_focused()
        page.get_by_role("link", name="Choose sex").click()
        expect(page.locator("#sex")).to_be_focused()
        _look_at(page, "form-wrong")
        page.get_by_text("Fill in an example").click()
        page.get_by_role("link", name="A clerk, 39").click()
        page.get_by_label("Your reference").fill(TEXT)
        page.get_by_role("button", name="Get the answer").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("50,000 $ a year or less")
        expect(page.locator("p.record bdi")).to_have_text(TEXT)
        _look_at(page, "answer")
        page.locator("p.record a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("On record")
        _look_at(page, "receipt")
        page.get_by_role("link", name="Models", exact=True).click()
        expect(page.get_by_role("heading", level=2)).to_have_count(6)
        _look_at(page, "start")


def test_a_stranger_goes_step_by_step_without_javascript(browser: Browser, behind_a_prefix: Service) -> None:
    """An open form needs no sign-in: four steps, back and forth without loss, an answer whose address can be shared."""
    with _person(browser, behind_a_prefix, has_script=False) as page:
        page.goto(f"{behind_a_prefix.url}/models/iris")
        page.get_by_role("link", name="Start").click()
        page.get_by_label("Sepal length").fill("five")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("Sepal length must be a number")
        for name, text in (("Sepal length", "5.1"), ("Sepal width", "3.5"), ("Petal length", "1.4")):
            page.get_by_label(name).fill(text)
            page.get_by_role("button", name="Continue").click()
        page.get_by_label("Petal width").fill("0.3")
        page.get_by_role("button", name="Back").click()
        expect(page.get_by_label("Petal length")).to_have_value("1.4")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Check your answers")
        page.get_by_role("link", name="Change petal width").click()
        expect(page.get_by_label("Petal width")).to_have_value("0.3")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Get the answer").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("setosa")
        address = page.url
    with _person(browser, behind_a_prefix) as other:
        other.goto(address)
        expect(other.get_by_role("heading", level=1)).to_have_text("setosa")
        _look_at(other, "shared-answer")
        other.goto(f"{behind_a_prefix.url}/models/iris")
        _look_at(other, "steps")
        other.get_by_role("link", name="Start").click()
        expect(other.get_by_role("heading", level=1)).to_have_text("Sepal length")
        _look_at(other, "step")


def test_strangers_get_no_more_than_was_opened(browser: Browser, behind_a_prefix: Service) -> None:
    """Another model asks to sign in, and an open one answers so many a minute; then it says when to come again."""
    with _person(browser, behind_a_prefix) as page:
        page.goto(f"{behind_a_prefix.url}/models/income")
        expect(page).to_have_title("Sign in – OnRecord")
        for _ in range(9):
            page.goto(
                f"{behind_a_prefix.url}/models/iris/check?sepal_length=5&sepal_width=3&petal_length=4&petal_width=1"
            )
            page.get_by_role("button", name="Get the answer").click()
            expect(page.get_by_role("heading", level=1)).not_to_have_text("Check your answers")
            if page.get_by_text("Too many people ask right now").count():
                return
    raise AssertionError("no limit was reached")


def test_an_open_form_outlives_its_token(behind_a_prefix: Service) -> None:
    """Where the token of open forms is voided they get another; without a client they say that they are closed."""
    file = behind_a_prefix.var / "clients" / "public-forms.json"
    kept = file.read_text()
    with Person(behind_a_prefix) as stranger, behind_a_prefix.caller("admin") as admin:
        client = behind_a_prefix.caller("public-forms")  # its token is void when those of the forms are

        def void() -> None:
            client.sign_in()
            path = f"/v1/clients/{client.client_id}/revocation"
            assert admin.http.post(path).status_code == 201
            wait(lambda: client.http.get("/v1/models").status_code == 401)

        first = stranger.look("/models/iris?petal_width=1").status_code
        void()
        wait(lambda: stranger.look("/models/iris?petal_width=1").status_code == 200)
        file.write_text(json.dumps(json.loads(kept) | {"client_secret": "of yesterday"}))
        void()
        closed = stranger.look("/models/iris?petal_width=1")
        told = stranger.look("/models/iris?petal_width=1", Accept="application/json")
        file.write_text(kept)
        wait(lambda: stranger.look("/models/iris?petal_width=1").status_code == 200)
        client.http.close()

    assert first == 200
    assert (closed.status_code, "This form is closed" in closed.text) == (503, True)
    assert (told.status_code, told.json()["type"], told.headers["Retry-After"]) == (
        503,
        "/problems/unavailable",
        "5",
    )


def test_a_day_is_asked_for_as_one(browser: Browser, behind_a_prefix: Service) -> None:
    """A day has a field of its own; one that is missing or none of the calendar is named beside it, and not lost."""
    with _person(browser, behind_a_prefix) as page:
        page.goto(f"{behind_a_prefix.url}/models/visits?guests=4")
        sign_in(page, behind_a_prefix)
        day = page.get_by_label("Day of the visit")
        expect(day).to_have_attribute("type", "date")
        day.focus()
        page.keyboard.type("3")  # half a day, of which the browser sends nothing
        page.get_by_role("button", name="Get the answer").click()
        expect(page.locator("#day-error")).to_contain_text("Enter day of the visit")
        page.get_by_role("link", name="Enter day of the visit").click()
        expect(day).to_be_focused()

        page.goto(f"{behind_a_prefix.url}/models/visits?guests=4&day=2026-02-30")
        page.get_by_role("button", name="Get the answer").click()
        expect(page.locator("#day-error")).to_contain_text("Day of the visit must be a day of the calendar")
        expect(day).to_have_value("2026-02-30")
        _look_at(page, "form-day")

        page.goto(f"{behind_a_prefix.url}/models/visits?guests=4")
        day.fill("2026-03-27")
        page.get_by_role("button", name="Get the answer").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("min")
        expect(page.get_by_text("2026-03-27").first).to_be_visible()


def test_the_keyboard_is_enough(browser: Browser, behind_a_prefix: Service) -> None:
    """From the top of a form to its answer with Tab, letters, Space and Enter only; the first stop skips the header."""
    with _person(browser, behind_a_prefix) as page:
        page.goto(f"{behind_a_prefix.url}/models/housing")
        sign_in(page, behind_a_prefix)
        expect(page.locator("#age")).to_be_visible()  # or the key would be pressed on the page that is left
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        for _ in range(20):
            if page.locator("#age").evaluate("each => each === document.activeElement"):
                break
            page.keyboard.press("Tab")
        page.keyboard.type("75")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("22.066")


def test_a_table_says_that_it_goes_on_and_scrolls_by_keyboard(
    browser: Browser, behind_a_prefix: Service
) -> None:
    """On a phone it lies over a shadow at its edge, which a cover hides where it ends; an arrow key moves it."""
    with behind_a_prefix.caller() as caller:
        assert caller.predict("housing", {"age": 50, "reference": "wide-table"}).status_code == 201
    with _person(browser, behind_a_prefix) as page:
        page.goto(f"{behind_a_prefix.url}/console?reference=wide-table")
        sign_in(page, behind_a_prefix, "admin")
        page.set_viewport_size({"width": 360, "height": 740})
        table = page.get_by_role("region", name="Predictions, newest first")

        expect(table).to_have_css("background-attachment", "local, local, scroll, scroll")
        assert table.evaluate("each => each.scrollWidth > each.clientWidth")
        table.focus()
        expect(table).to_be_focused()
        page.keyboard.press("ArrowRight")
        wait(lambda: table.evaluate("each => each.scrollLeft > 0"))
