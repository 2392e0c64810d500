"""The console in a real browser without scripts, behind nginx and a path prefix: auditors and operators at work."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests import auditor, browsing
from tests.engines import wait_for
from tests.pages import Person
from tests.reporting import lived
from tests.service import Caller, Service

PICTURES = browsing.ARTEFACTS / "console"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
VIEWS = [
    (scheme, size, width)
    for scheme in ("light", "dark")
    for size, width in ((DESKTOP, "desktop"), (PHONE, "phone"))
]
LOOKED_AT = {("light", "desktop"), ("dark", "phone")}  # by axe: every width and every scheme
expect.set_options(timeout=60_000)
NAUGHTY = "<b onmouseover=alert(1)>\"'&\u202eשלום 👩‍👧"


@pytest.fixture
def service(behind_a_prefix: Service) -> Service:
    """Everything here is looked at under a prefix."""
    return behind_a_prefix


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """Sit in front of a browser without scripts; whatever was done, the ledger is sound afterwards."""
    context = browser.new_context(java_script_enabled=False, viewport=DESKTOP, base_url=f"{service.url}/")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()
    assert auditor.audit(service.database_url, {}) == []


def sign_in(page: Page, service: Service, name: str = "admin", next: str = "console") -> None:
    """Sign in where the console sends a stranger."""
    page.goto(next)
    browsing.sign_in(page, service, name)


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
    sign_in(page, service, next=f"console/predictions/{name}/erase")

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
    sign_in(page, service, next="console/clients")
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
    sign_in(page, service, next=f"console/predictions/{name}")
    page.get_by_role("link", name="Hold it").click()
    page.get_by_label("Reason").fill("file 18")
    page.get_by_role("button", name="Hold it").click()
    expect(page.get_by_role("cell", name="file 18")).to_be_visible()

    page.goto(f"console/predictions/{name}/erase?ground=error&reason=x")
    page.get_by_role("button", name="See what would go").click()
    expect(page.get_by_text("Nothing would go")).to_be_visible()

    page.goto("console/holds")
    page.get_by_role("row").filter(has_text="file 18").get_by_role("link").click()
    page.get_by_label("Reason").fill("settled")
    page.get_by_role("button", name="Lift it").click()
    expect(page.get_by_role("row").filter(has_text="file 18")).to_contain_text("no")


def test_an_operator_promotes_a_version_and_takes_it_back(page: Page, service: Service) -> None:
    """Both versions stand beside each other; what would happen is said, happens, and is taken back by the same page."""
    sign_in(page, service, next="console/models/housing")
    expect(page.get_by_role("row").filter(has_text="champion")).to_contain_text("0.24")
    expect(page.get_by_role("row").filter(has_text="0.75")).to_have_count(1)
    page.get_by_label("Let another version answer").select_option("2")
    page.get_by_role("button", name="See what would change").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Let version 2 answer?")
    expect(page.get_by_role("row").filter(has_text="r2_score")).to_have_text(
        "r2_score 0.2400 0.7500", use_inner_text=True
    )
    assert _answering(service) == ("1", 24.901049)

    page.get_by_role("button", name="Let version 2 answer").click()
    expect(page.get_by_text("Version 2 answers, since")).to_be_visible()
    assert _answering(service) == ("2", 25.0)

    page.get_by_role("link", name="Roll back to version 1").click()
    page.get_by_role("button", name="Let version 1 answer").click()
    expect(page.get_by_text("Version 1 answers, since")).to_be_visible()
    assert _answering(service) == ("1", 24.901049)


def _answering(service: Service) -> tuple[str, float]:
    """Say which version answers a program that names none, and what."""
    with service.caller() as caller:
        answer = caller.predict("housing", {"age": 50}).json()
        return answer["version"], round(answer["predictions"][0]["price"], 6)


def _client(service: Service) -> str:
    with service.caller() as caller:
        return caller.client_id


def test_what_somebody_sent_is_shown_and_never_run(page: Page, service: Service) -> None:
    """Markup, quotes, right-to-left text and emoji stand on the pages as they were sent."""
    name = predicted(service, NAUGHTY)
    sign_in(page, service, next=f"console/predictions/{name}")

    expect(page.get_by_role("definition").get_by_text(NAUGHTY, exact=True).first).to_be_visible()
    page.goto("console")
    find(page, "Reference", NAUGHTY)
    expect(page.get_by_role("cell", name=NAUGHTY, exact=True)).to_be_visible()
    assert page.locator("main [onmouseover]").count() == 0


def test_an_owner_sees_how_good_a_model_turned_out(page: Page, service: Service) -> None:
    """From a model to its pictures, each of them loaded, to a group that is served worse, and to its file."""
    lived(service)
    sign_in(page, service, next="console/models/two-features")
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
    page.goto("models/two-features/performance")
    expect(page.get_by_role("img", name="ROC curve")).to_be_visible()
    page.get_by_text("The figures behind the pictures").click()
    expect(page.get_by_role("table", name="What counting as positive")).to_be_visible()


def _is_drawn(page: Page, name: str) -> None:
    """Wait for a picture and see that there is something to see."""
    picture = page.get_by_role("img", name=name)
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)
    expect(picture).not_to_have_js_property("naturalWidth", 0)


def test_nothing_leads_out_of_the_prefix(service: Service) -> None:
    """Every link, file and form of every page that can be reached stands under the prefix and leads somewhere."""
    origin = service.url.removesuffix(browsing.PREFIX)
    with Person(service) as person:
        signed = person.sign_in("admin", next="/console")
        cookies = {each.name: each.path for each in person.http.cookies.jar}
        found, left = set[str](), [signed.headers["Location"], f"{browsing.PREFIX}/"]
        while left:
            place = left.pop()
            if (kind := re.sub(r"[0-9a-f-]{36}|[?].*|[^/]+(?=/predictions/)", "", place)) in found:
                continue
            found.add(kind)
            answer = person.http.get(f"{origin}{place}")
            assert answer.status_code == 200, place
            if not answer.headers["Content-Type"].startswith("text/html") or place.endswith("/docs"):
                continue
            for link in re.findall(r'(?:href|src|action)="([^"#][^"]*)"', answer.text):
                assert link.startswith((f"{browsing.PREFIX}/", "data:")), (place, link)
            left += map(html.unescape, re.findall(r'(?:href|src)="(/[^"]*)"', answer.text))

    assert cookies == {"onrecord": browsing.PREFIX}
    assert len(found) > 40


def test_every_page_is_for_everybody(browser: Browser, service: Service) -> None:
    """Axe finds nothing on any page, in light and dark, and none weighs 60 kB; pictures of all are kept."""
    name = predicted(service, "looked-at", explain=True)
    places = {
        "predictions": "console?reference=looked-at",
        "nothing": "console?reference=nobody-sent-this",
        "wrong": "console?score_min=x",
        "prediction": f"console/predictions/{name}",
        "erase": f"console/predictions/{name}/erase",
        "hold": f"console/holds/ask?prediction={name}",
        **{each: f"console/{each}" for each in ("holds", "ledger", "models", "clients", "clients/new", "events")},
        "model": "console/models/income",
        "two-versions": "console/models/housing",
        "promote": "console/models/housing/champion?version=2",
        "verifications": "console/ledger/verifications",
        "client": f"console/clients/{_client(service)}",
        **{each: f"console/models/housing/{each}" for each in ("drift", "performance", "alerts")},
        "measured": "console/models/two-features/performance?bucket=day&by=X1",
        "quality": "models/two-features/performance",
    }  # fmt: skip
    PICTURES.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport=DESKTOP, base_url=f"{service.url}/")
    context.set_default_timeout(60_000)
    page = context.new_page()
    sign_in(page, service)
    found: dict[str, object] = {}
    for title, place in places.items():
        answer = page.goto(place)
        assert answer is not None
        weight = len(answer.body())
        for scheme, size, width in VIEWS:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two it knows
            page.set_viewport_size(size)  # type: ignore[arg-type]  # width and height
            picture = PICTURES / f"{title.replace('/', '-')}-{width}-{scheme}.jpg"
            page.screenshot(path=picture, full_page=True, type="jpeg", quality=80)
            if (scheme, width) not in LOOKED_AT:
                continue
            wrong = [each["id"] for each in Axe().run(page).response["violations"]]
            overflows = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            if wrong or weight >= 60_000 or overflows or answer.status not in (200, 400):
                found[f"{title} {scheme}"] = (wrong, weight, overflows, answer.status)
    context.close()

    assert found == {}
