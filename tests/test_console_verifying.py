"""A verification in a real browser: started with a button, followed with and without scripts, cancelled, read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests import browsing
from tests.service import Service
from tests.verifications import PATIENCE_S, started_and_stopped

pytestmark = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
PICTURES = browsing.ARTEFACTS / "console"
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@contextmanager
def auditing(browser: Browser, service: Service, *, has_script: bool) -> Iterator[Page]:
    """Sit in front of the ledger's page, signed in."""
    context = browser.new_context(java_script_enabled=has_script, base_url=service.url)
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.goto("/console/ledger")
    browsing.sign_in(page, service, "admin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Ledger", timeout=PATIENCE_S * 1000)
    yield page
    context.close()


def wrong(page: Page, name: str) -> list[str]:
    """Name what axe finds in light and dark, and what is wider than the window; keep a picture of each."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two it knows
        for width, size in SIZES.items():
            page.set_viewport_size(size)  # type: ignore[arg-type]  # width and height
            picture = PICTURES / f"{name}-{width}-{scheme}.jpg"
            page.screenshot(path=picture, full_page=True, type="jpeg", quality=80)
        found += [f"{name} {each['id']}" for each in Axe().run(page).response["violations"]]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name} is too wide")
    return found


def test_an_auditor_starts_a_verification_and_reads_what_it_found(browser: Browser, service: Service) -> None:
    """Without scripts, the page looks again by itself until the verdict stands there; the ledger's page leads to it.

    Where only what is new was read, both say so, and when everything was read last.
    """
    with auditing(browser, service, has_script=False) as page:
        page.get_by_role("button", name="Verify everything").click()
        verdict = page.get_by_role("heading", level=1)
        expect(verdict).to_contain_text("Intact: ", timeout=PATIENCE_S * 1000)
        address = page.url
        page.get_by_role("link", name="The ledger", exact=True).click()
        said = page.locator("p", has=page.get_by_role("link", name="Intact: "))
        expect(said).to_contain_text("minute")
        said.get_by_role("link").click()
        assert page.url == address
        page.get_by_role("link", name="All verifications").click()
        first = page.get_by_role("table").get_by_role("link").first
        expect(first).to_have_attribute("href", urlsplit(address).path)

        page.goto(address)
        page.get_by_role("button", name="Verify what is new").click()
        expect(verdict).to_contain_text("which were not read again", timeout=PATIENCE_S * 1000)
        expect(page.get_by_text("This says nothing of the first")).to_be_visible()
        page.goto("/console/ledger")
        expect(page.get_by_role("link", name="which were not read again")).to_be_visible()
        expect(page.get_by_text("Everything was last read")).to_be_visible()


def test_a_running_verification_is_followed_and_cancelled(browser: Browser, service: Service) -> None:
    """While it runs: how far it is, a page that can be made to stand still, one button to cancel; axe finds nothing."""
    with auditing(browser, service, has_script=True) as page:
        with service.caller("admin") as admin, started_and_stopped(service, admin):
            page.reload()
            expect(page.get_by_role("button", name="Verify ")).to_have_count(0)
            page.get_by_role("link", name="See how far it is").click()
            expect(page.get_by_role("progressbar")).to_be_visible()
            page.get_by_role("link", name="Make it stand still").click()
            expect(page.get_by_role("link", name="again and again")).to_be_visible()
            found = wrong(page, "verification-running")
            page.get_by_role("button", name="Cancel it").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Cancelled before it was done")
        found += wrong(page, "verification-cancelled")
        page.goto("/console/ledger")
        expect(page.get_by_text(f"cancelled by {admin.client_id}")).to_be_visible()
        found += wrong(page, "ledger-cancelled")

    assert found == []
