"""The console in a real browser, scripts switched off: an auditor from sign-in to proof, replay and erasure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import auditor
from tests.conftest import must_have
from tests.engines import wait_for
from tests.reporting import lived
from tests.service import Caller, Service

pytestmark = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
ARTEFACTS = Path(os.environ.get("ONRECORD_ARTEFACTS", Path(__file__).parent.parent / "artefacts")) / "console"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
expect.set_options(timeout=60_000)
NAUGHTY = "<b onmouseover=alert(1)>\"'&\u202eשלום 👩‍👧"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the distribution's Chromium once for the file."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        must_have("chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """Sit in front of a browser without scripts; whatever was done, the ledger is sound afterwards."""
    context = browser.new_context(java_script_enabled=False, viewport=DESKTOP, base_url=service.url)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()
    assert auditor.audit(service.database_url, {}) == []


def sign_in(page: Page, service: Service, name: str = "admin", next: str = "/console") -> None:
    """Sign in where the console sends a stranger."""
    client = json.loads((service.var / "clients" / f"{name}.json").read_text())
    page.goto(next)
    page.get_by_label("Client id").fill(client["client_id"])
    page.get_by_label("Client secret").fill(client["client_secret"])
    page.get_by_role("button", name="Sign in").click()


def predicted(service: Service, reference: str, model: str = "housing", **body: object) -> str:
    """Have something predicted that no other test minds being erased; return its id once its proof is signed."""
    with service.caller() as caller:
        instance = {"age": 50, "reference": reference}
        answer = caller.predict(model, instance, **body).json()
        receipt = f"/v1/records/{answer['record']}/receipt"
        wait_for(lambda: caller.http.get(receipt).status_code == 200, within_s=60)
        return str(answer["predictions"][0]["id"])


def find(page: Page, label: str, text: str) -> None:
    """Fill in one condition and search."""
    page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Find").click()


def test_an_auditor_goes_from_sign_in_to_proof_and_replay(page: Page, service: Service) -> None:
    """A prediction is found by its reference, shown exactly, proved by a picture, and replayed identically."""
    name = predicted(service, "audited-1", explain=True)
    sign_in(page, service)
    find(page, "Reference", "audited-1")
    assert "reference=audited-1" in page.url

    page.get_by_role("table").get_by_role("link").first.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Prediction 1 of its record")
    assert name in page.content()
    expect(page.locator("pre").first).to_contain_text('"reference": "audited-1"')
    expect(page.get_by_role("heading", name="Why")).to_be_visible()
    expect(page.get_by_role("img", name="The path from leaf")).to_be_visible()
    expect(page.get_by_text("That is the root which the checkpoint signs")).to_be_visible()

    page.get_by_role("button", name="Replay it").press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Replay: identical")
    assert "/console/replays/" in page.url


def test_an_auditor_erases_with_ground_and_reason(page: Page, service: Service) -> None:
    """What is missing is asked for, what would go is shown first, and afterwards the page says who, when and why."""
    name = predicted(service, "erased-by-hand")
    sign_in(page, service, next=f"/console/predictions/{name}/erase")

    page.get_by_role("button", name="See what would go").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose the ground")
    page.get_by_label("The person asked for it").check()
    page.get_by_label("Reason", exact=True).fill("letter 17")
    page.get_by_role("button", name="See what would go").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Erase this for ever?")
    expect(page.get_by_text("letter 17")).to_be_visible()
    page.get_by_role("button", name="Erase for ever").click()

    expect(page.get_by_text("ground data-subject-request")).to_be_visible()
    assert "erased-by-hand" not in page.content()
    with service.caller("admin") as admin:
        assert admin.http.get(f"/v1/predictions/{name}").status_code == 410


def test_an_operator_makes_a_client_and_turns_it_away(page: Page, service: Service) -> None:
    """A secret is shown once and works; a disabled client gets no token."""
    sign_in(page, service, next="/console/clients")
    page.get_by_role("link", name="Make a client").click()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter a name")
    page.get_by_label("Name").fill("by hand")
    page.get_by_label("predict", exact=True).check()
    page.get_by_role("button", name="Make it").click()
    client_id, secret = page.locator("dd code").all_text_contents()
    with Caller(service.url, client_id, secret) as made:
        assert made.predict("housing", {"age": 50}).status_code == 201

    page.get_by_role("link", name="The client", exact=True).click()
    assert secret not in page.content()
    page.get_by_text("Disable by hand").click()
    page.get_by_role("button", name="Disable it for ever").click()

    expect(page.get_by_text("disabled since")).to_be_visible()


def test_a_hold_keeps_a_prediction_from_being_erased(page: Page, service: Service) -> None:
    """Held from its page, a prediction is passed over by its erasure; lifted, it is no longer held."""
    name = predicted(service, "held-by-hand")
    sign_in(page, service, next=f"/console/predictions/{name}")
    page.get_by_role("link", name="Hold it").click()
    page.get_by_label("Reason").fill("file 18")
    page.get_by_role("button", name="Hold it").click()
    expect(page.get_by_role("cell", name="file 18")).to_be_visible()

    page.goto(f"/console/predictions/{name}/erase?ground=error&reason=x")
    page.get_by_role("button", name="See what would go").click()
    expect(page.get_by_text("Nothing would go")).to_be_visible()

    page.goto("/console/holds")
    page.get_by_role("row").filter(has_text="file 18").get_by_role("link").click()
    page.get_by_label("Reason").fill("settled")
    page.get_by_role("button", name="Lift it").click()
    expect(page.get_by_role("row").filter(has_text="file 18")).to_contain_text("no")


def test_what_somebody_sent_is_shown_and_never_run(page: Page, service: Service) -> None:
    """Markup, quotes, right-to-left text and emoji stand on the pages as they were sent."""
    name = predicted(service, NAUGHTY)
    sign_in(page, service, next=f"/console/predictions/{name}")

    expect(page.get_by_role("definition").get_by_text(NAUGHTY, exact=True).first).to_be_visible()
    page.goto("/console")
    find(page, "Reference", NAUGHTY)
    expect(page.get_by_role("cell", name=NAUGHTY, exact=True)).to_be_visible()
    assert page.locator("main [onmouseover]").count() == 0


def test_an_owner_sees_how_good_a_model_turned_out(page: Page, service: Service) -> None:
    """From a model to its pictures, each of them loaded, to a group that is served worse, and to its file."""
    lived(service)
    sign_in(page, service, next="/console/models/two-features")
    for name in ("Over time", "ROC curve", "Calibration", "Confusion matrix", "How far questions"):
        _is_drawn(page, name)

    page.get_by_role("link", name="The figures, other windows and groups").press("Enter")
    _is_drawn(page, "Precision and recall")
    page.get_by_label("Groups by").select_option("X1")
    page.get_by_label("A table by").select_option("day")
    page.get_by_role("button", name="Measure").click()

    expect(page.get_by_role("table", name="accuracy_score by X1").get_by_role("row")).to_have_count(11)
    expect(page.get_by_role("table", name="accuracy_score by day")).to_be_visible()
    assert "by=X1" in page.url and "bucket=day" in page.url
    points = page.get_by_role("region", name="What counting as positive").locator("+ p").get_by_role("link")
    with page.expect_download() as download:
        points.click()
    assert download.value.suggested_filename == "roc_curve.csv"
    page.goto("/models/two-features/performance")
    expect(page.get_by_role("img", name="ROC curve")).to_be_visible()
    page.get_by_text("The curve as a table").click()
    expect(page.get_by_role("table", name="What counting as positive")).to_be_visible()


def _is_drawn(page: Page, name: str) -> None:
    """Wait for a picture and see that there is something to see."""
    picture = page.get_by_role("img", name=name)
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)
    expect(picture).not_to_have_js_property("naturalWidth", 0)


def test_every_page_is_for_everybody(browser: Browser, service: Service) -> None:
    """Axe finds nothing on any page, in light and dark, and none weighs 60 kB; pictures of all are kept."""
    name = predicted(service, "looked-at", explain=True)
    places = {
        "predictions": "/console?reference=looked-at",
        "nothing": "/console?reference=nobody-sent-this",
        "wrong": "/console?score_min=x",
        "prediction": f"/console/predictions/{name}",
        "erase": f"/console/predictions/{name}/erase",
        "hold": f"/console/holds/ask?prediction={name}",
        **{each: f"/console/{each}" for each in ("holds", "ledger", "models", "clients", "clients/new", "events")},
        "model": "/console/models/income",
        **{each: f"/console/models/housing/{each}" for each in ("drift", "performance", "alerts")},
        "measured": "/console/models/two-features/performance?bucket=day&by=X1",
        "quality": "/models/two-features/performance",
    }  # fmt: skip
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport=DESKTOP, base_url=service.url)
    context.set_default_timeout(60_000)
    page = context.new_page()
    sign_in(page, service)
    found: dict[str, object] = {}
    for title, place in places.items():
        answer = page.goto(place)
        assert answer is not None
        weight = len(answer.body())
        for scheme, size in (("light", DESKTOP), ("dark", PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            picture = ARTEFACTS / f"{title.replace('/', '-')}-{scheme}.png"
            page.screenshot(path=picture, full_page=True)
            wrong = [each["id"] for each in Axe().run(page).response["violations"]]
            overflows = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            if wrong or weight >= 60_000 or overflows or answer.status not in (200, 400):
                found[f"{title} {scheme}"] = (wrong, weight, overflows, answer.status)
    context.close()

    assert found == {}
