"""The console in a real browser: Authorize works with the demo caller, "Try it out" predicts, also behind a prefix."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browsing import ARTEFACTS
from tests.service import Caller, Service


@pytest.fixture(scope="module")
def browser_page(browser: Browser) -> Page:
    """Open a page wide enough for swagger-ui."""
    page: Page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(30_000)
    return page


def _predict_by_hand(page: Page, service: Service, picture: str) -> str:
    """Do what a person does in the console, from Authorize to the answer of housing; return the record's id."""
    client = json.loads((service.var / "clients" / "demo.json").read_text())
    problems: list[str] = []
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((service.url, "data:")) else problems.append(asked.url),
    )
    page.goto(f"{service.url}/docs")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.get_by_label("client_id:").fill(client["client_id"])
    dialog.get_by_label("client_secret:").fill(client["client_secret"])
    for scope in ("predict", "predictions:read"):
        dialog.locator(f"input[type=checkbox][value='{scope}'], label[for^='{scope}-']").first.click()
    dialog.locator("button.authorize").click()
    expect(dialog.get_by_role("button", name="Logout")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    operation = page.locator("[id^='operations-predictions'][id$='create_housing']")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("201")
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / picture, full_page=True)
    assert problems == []
    body = operation.locator(".live-responses-table .highlight-code").first.inner_text()
    return str(json.loads(body[body.index("{") : body.rindex("}") + 1])["record"])


def test_a_person_predicts_in_the_console(browser_page: Page, service: Service, demo: Caller) -> None:
    """From /docs: Authorize with the demo caller, execute the example of housing, and it is on record."""
    record = _predict_by_hand(browser_page, service, "console.png")

    assert demo.http.get(f"/v1/records/{record}").status_code == 200


def test_a_person_predicts_behind_a_prefix(browser_page: Page, behind_a_prefix: Service) -> None:
    """The same behind a proxy that serves the service under /ml."""
    record = _predict_by_hand(browser_page, behind_a_prefix, "console-prefix.png")

    with behind_a_prefix.caller() as caller:
        assert caller.http.get(f"/v1/records/{record}").status_code == 200


def test_the_start_page_leads_on(browser_page: Page, service: Service) -> None:
    """Every link of the start page leads somewhere."""
    browser_page.goto(service.url)
    links = [link.get_attribute("href") for link in browser_page.get_by_role("link").all()]

    assert len(links) >= 3
    for link in links:
        assert browser_page.request.get(f"{service.url}{link}").status == 200


def test_a_problems_type_leads_to_its_page(browser_page: Page, service: Service) -> None:
    """The type of a problem is an address that explains it."""
    problem = browser_page.request.get(f"{service.url}/v1/models").json()

    page = browser_page.request.get(f"{service.url}{problem['type']}")

    assert page.status == 200
    assert problem["title"] in page.text()
