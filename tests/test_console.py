"""The console in a real browser: Authorize works with the demo caller, "Try it out" predicts, also behind a prefix."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import must_have
from tests.proxy import listens, wait
from tests.service import Caller, Service, free_port, running

ARTEFACTS = Path(__file__).parent.parent / "artefacts"
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /ml/ {{ proxy_pass http://127.0.0.1:{upstream}/; proxy_set_header Host $http_host; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    """Open the distribution's Chromium; anything it logs as an error, and any foreign host it asks, is collected."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        must_have("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(10_000)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def behind_a_prefix(short_folder: Path) -> Iterator[Service]:
    """Run a service that believes in /ml, behind a real nginx that strips it."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        must_have("nginx")
    folder = short_folder / "prefix"
    port = free_port()
    url = f"http://127.0.0.1:{port}/ml"
    with running(folder, None, ONRECORD_ROOT_PATH="/ml", ONRECORD_PUBLIC_URL=url) as service:
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, upstream=service.port))
        with (folder / "error.log").open("wb") as errors:
            proxy = subprocess.Popen([nginx, "-c", str(config)], stderr=errors)
        wait(lambda: listens(port) or proxy.poll() is not None)
        assert proxy.poll() is None, (folder / "error.log").read_text()
        service.url = url
        yield service
        proxy.terminate()
        proxy.wait()


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
