"""The form of a model: what is asked, what is wrong beside each field, what is on record behind an address."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.keys import read_cursor_key
from api.pages.session import derived
from tests import auditor
from tests.pages import Person, hidden
from tests.service import Caller, Service

pytestmark = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
CLERK: dict[str, Any] = {
    "age": "39",
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "occupation": "(not known)",
    "relationship": "Not-in-family",
    "race": "White",
    "sex": "Male",
    "capital_gain": "2174",
    "capital_loss": "0",
    "hours_per_week": "40",
    "native_country": "United-States",
}
NAUGHTY = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "quotes": "\"'`></textarea>{{7*7}}{%raw%}",
    "right to left": "\u202eשלום עולם\u202c",
    "emoji": "👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿",
}


@pytest.fixture
def person(service: Service) -> Iterator[Person]:
    """Stand in front of the pages, signed in as an ordinary client."""
    with Person(service) as someone:
        someone.sign_in()
        yield someone
    assert auditor.audit(service.database_url, {}) == []


def _ask(person: Person, model: str, entries: dict[str, str]) -> str:
    """Send a form that is right; return the address of its answer."""
    answer = person.send(f"/models/{model}", {"once": "1", **entries}, seen=f"/models/{model}?age=1")
    assert answer.status_code == 303, answer.text
    return person.place(answer)


def test_an_answer_is_on_record_behind_its_address(person: Person, demo: Caller) -> None:
    """A form leads to an address that shows the recorded prediction; what nobody was asked follows from the rest."""
    place = _ask(person, "income", {**CLERK, "reference": "form-1"})

    page = person.look(place)

    kept = demo.http.get(f"/v1/predictions/{place.rpartition('/')[2]}").json()
    assert kept["instance"]["education_num"] == 13
    assert kept["instance"]["occupation"] is None
    assert kept["instance"]["age"] == 39
    assert "50,000 $ a year or less" in page.text
    assert "On record as" in page.text and "form-1" in page.text
    assert "of the training data" in page.text


def test_an_answer_says_why(person: Person, demo: Caller) -> None:
    """The reasons on record are shown, the weightiest first, and what follows from an answer counts with it."""
    place = _ask(person, "income", CLERK)

    page = person.look(place).text

    kept = demo.http.get(f"/v1/predictions/{place.rpartition('/')[2]}").json()["prediction"]
    found = {each["feature"]: each["contribution"] for each in kept["contributions"]}
    found["education"] += found.pop("education_num")
    labels = re.findall(r'<li class="(?:for|against)"><span>([^<]*)</span>', page)
    assert len(labels) == len(found)
    assert max(found, key=lambda each: abs(found[each])) == "capital_gain"
    assert labels[0] == "Capital gains"
    assert f"<b>+{found['education']:.3f}</b>" in page  # below the largest, of which four digits are shown
    assert (
        len({len(each.partition(".")[2]) for each in re.findall(r"<b>[+\N{MINUS SIGN}]([^<]*)</b>", page)})
        == 1
    )


def test_the_record_is_what_the_api_would_have_made(person: Person, demo: Caller) -> None:
    """The same instance sent by a program gets the same answer."""
    name = _ask(person, "housing", {"age": "75"}).rpartition("/")[2]

    kept = demo.http.get(f"/v1/predictions/{name}").json()["prediction"]

    assert kept["price"] == demo.predict("housing", {"age": 75}).json()["predictions"][0]["price"]


def test_everything_missing_is_named_beside_its_field(person: Person) -> None:
    """An empty form names every field twice, once as a link to it, and puts nothing on record."""
    answer = person.send("/models/income", {}, seen="/models/income")

    assert answer.status_code == 422
    for name in CLERK:
        assert answer.text.count(f'href="#{name}"') == 1
        assert f'id="{name}-error"' in answer.text
        assert f'id="{name}"' in answer.text


def test_nothing_is_lost_on_a_wrong_entry(person: Person) -> None:
    """What was right is still there, and so is what was wrong."""
    answer = person.send("/models/income", {**CLERK, "age": "thirty-nine"}, seen="/models/income")

    assert answer.status_code == 422
    assert answer.text.count("Age must be a whole number, such as 39") == 2
    assert 'value="thirty-nine"' in answer.text
    assert '<option value="Bachelors" selected>' in answer.text
    assert 'value="Male" checked' in answer.text


@pytest.mark.parametrize("kind", NAUGHTY)
def test_what_was_entered_is_shown_literally(person: Person, kind: str) -> None:
    """Markup, quotes, right-to-left text and emoji are text on every page that shows them."""
    text = NAUGHTY[kind]

    wrong = person.send("/models/housing", {"age": text, "reference": text}, seen="/models/housing")
    right = person.look(_ask(person, "housing", {"age": "50", "reference": text}))
    receipt = person.look(f"{right.url.path}/receipt")

    assert wrong.status_code == 422
    for page in (wrong, right):
        assert html.escape(text, quote=False) in page.text.replace("&#39;", "'").replace("&#34;", '"')
        assert "<script" not in page.text and "onerror=alert(2)>" not in page.text
    assert "<script" not in receipt.text


def test_ten_kilobytes_are_kept_and_refused(person: Person) -> None:
    """A text beyond the contract is named, and is still in the form."""
    text = "é" * 10_000

    answer = person.send("/models/housing", {"age": "50", "reference": text}, seen="/models/housing")

    assert answer.status_code == 422
    assert answer.text.count("Your reference must have 200 characters or fewer") == 2
    assert text in answer.text


def test_a_form_sent_twice_is_one_record(person: Person) -> None:
    """A double click, and a page loaded again, lead to the same answer; another entry to another one."""
    token = hidden(person.look("/models/housing").text, "csrf_token")
    form = {"csrf_token": token, "once": "1", "age": "61"}
    with ThreadPoolExecutor(2) as fingers:
        clicks = list(fingers.map(lambda _: person.http.post("/models/housing", data=form), range(2)))
    again, other = (_ask(person, "housing", {"age": age}) for age in ("61", "62"))

    assert [each.status_code for each in clicks] == [303, 303]
    assert {person.place(each) for each in clicks} == {again}
    assert again != other


def test_a_foreign_answer_does_not_exist(person: Person, admin: Caller) -> None:
    """Another client's prediction, and one of another model, answer like none."""
    name = admin.predict("housing", {"age": 10}).json()["predictions"][0]["id"]
    own = _ask(person, "housing", {"age": "63"})

    for place in (f"/models/housing/predictions/{name}", own.replace("housing", "iris")):
        assert person.look(place).status_code == 404


def test_the_files_of_a_receipt_hold(person: Person, tmp_path: Any) -> None:
    """The three files that the receipt's page offers convince the offline check."""
    place = _ask(person, "housing", {"age": "64"})
    files = {}
    for part in ("request", "answer", "receipt"):
        answer = person.look(f"{place}/{part}.json")
        while answer.status_code == 404 and part == "receipt":  # a checkpoint is signed once a second
            answer = person.look(f"{place}/{part}.json")
        assert "attachment" in answer.headers["Content-Disposition"]
        files[part] = tmp_path / part
        files[part].write_bytes(answer.content)

    done = person.service.command(
        *("receipt", str(files["receipt"]), "--key", str(person.service.var / "ledger.pub")),
        *("--input", str(files["request"]), "--output", str(files["answer"])),
    )

    assert "the receipt holds" in done.stdout


def test_whose_time_is_over_is_back_with_the_form_filled_in(person: Person) -> None:
    """A form sent after its sign-in ended leads to the sign-in and from there back, nothing lost."""
    token = hidden(person.look("/models/income").text, "csrf_token")
    _let_end(person)

    answer = person.http.post("/models/income", data={"csrf_token": token, **CLERK})
    page = person.follow(answer)
    again = person.follow(person.sign_in(next=dict(answer.next_request.url.params)["next"]))  # type: ignore[union-attr]  # it leads on

    assert "Your time was up" in page.text
    assert 'value="39"' in again.text
    assert '<option value="Bachelors" selected>' in again.text


def _let_end(person: Person) -> None:
    """Set the clock of a session forward, with the service's own key."""
    import base64

    from cryptography.fernet import Fernet

    key = derived(read_cursor_key(person.service.var), b"pages: session")
    fernet = Fernet(base64.urlsafe_b64encode(key))
    content = json.loads(fernet.decrypt(person.http.cookies["onrecord"]))
    person.http.cookies.clear()
    sealed = fernet.encrypt(json.dumps(content | {"until": 1}).encode()).decode()
    person.http.cookies.set("onrecord", sealed, domain="127.0.0.1", path="/")


def test_steps_go_forth_and_back_without_loss(person: Person) -> None:
    """What was typed is there again after going back, also what was wrong; the last step leads to all answers."""
    on = person.look("/models/iris/steps/1?sepal_length=5.1&go=on")
    back = person.look("/models/iris/steps/2?sepal_length=5.1&sepal_width=x&go=back")
    wrong = person.look("/models/iris/steps/2?sepal_length=5.1&sepal_width=x&go=on")
    missing = person.look("/models/iris/check?sepal_length=5.1&sepal_width=3.5&petal_width=0.2")

    assert person.place(on) == "/models/iris/steps/2?sepal_length=5.1"
    assert person.place(back) == "/models/iris/steps/1?sepal_length=5.1&sepal_width=x"
    assert wrong.status_code == 400
    assert wrong.text.count("Sepal width must be a number") == 2
    assert person.place(missing).startswith("/models/iris/steps/3?")


def test_a_stranger_is_asked_to_sign_in_and_comes_back(service: Service) -> None:
    """A shared address leads through the sign-in to what it names."""
    with Person(service) as stranger:
        answer = stranger.look("/models/income?age=50")
        place = dict(answer.next_request.url.params)["next"]  # type: ignore[union-attr]  # it leads on

    assert answer.status_code == 303
    assert place == "/models/income?age=50"


def test_numbers_are_written_as_the_reader_does(person: Person) -> None:
    """A German reader sees a comma before decimals, in an answer as in a measure."""
    place = _ask(person, "housing", {"age": "50"})

    assert "24.901" in person.look(place).text
    assert "24,901" in person.look(place, **{"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}).text


def test_the_start_page_counts_what_is_used(person: Person, demo: Caller) -> None:
    """A prediction more is counted once more, for the API and on the start page."""
    before = demo.http.get("/v1/models/two-features/usage").json()
    demo.predict("two-features", {"X1": 1, "X2": 1}, {"X1": 2, "X2": 2}, {"X1": 3, "X2": 3})

    after = demo.http.get("/v1/models/two-features/usage").json()

    assert after == {**before, "predictions": before["predictions"] + 3, "is_more": False}
    assert f"<dd>{after['predictions']} times</dd>" in person.look("/").text
    assert demo.http.get("/v1/models/none/usage").status_code == 404


def test_how_good_a_model_is_has_a_page(person: Person) -> None:
    """It shows the measures after training with their meaning, and what has moved, or that there is too little."""
    _ask(person, "housing", {"age": "75"})

    page = person.look("/models/housing/performance")

    assert page.status_code == 200
    assert "Explained (R²)" in page.text and "24\u00a0%" in page.text
    assert "Too few to compare: it takes 200" in page.text or "<svg" in page.text
    assert "style=" not in page.text and "<style" not in page.text
    assert len(page.content) < 60_000


def test_no_page_is_heavy(person: Person) -> None:
    """The largest form and the largest answer weigh less than 60 kB."""
    place = _ask(person, "income", CLERK)

    for each in ("/models/income", "/models/credit?example=0", place, f"{place}/receipt"):
        assert len(person.look(each).content) < 60_000
