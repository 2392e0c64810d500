"""The console without a browser: who may enter, what tables export, what a ledger proves, what a form may change."""

from __future__ import annotations

import csv
import html
import io
import re
import uuid
from base64 import b64encode
from collections.abc import Iterator

import httpx
import pytest

from api import contract
from api.app import CONTRACT
from api.console.proofs import lefts, picture
from db.notes import Checkpoint, Proof
from db.tree import leaf_hash, node_hash
from tests import auditor
from tests.pages import Person, hidden
from tests.service import Caller, Service

pytestmark = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
EXAMPLES = {
    name: each.examples[0]["instances"][0] for name, each in contract.read(CONTRACT, 10).models.items()
}
ROOMS = (
    "",
    "/ledger",
    "/models",
    "/models/income",
    "/models/income/drift",
    "/clients",
    "/clients/new",
    "/holds",
    "/events",
)


@pytest.fixture
def person(service: Service) -> Iterator[Person]:
    """Stand in front of the console as who may do everything."""
    with Person(service) as someone:
        someone.sign_in("admin")
        yield someone
    assert auditor.audit(service.database_url, {}) == []


def rows(answer: httpx.Response) -> list[list[str]]:
    """Read what a table exported."""
    assert answer.headers["Content-Type"].startswith("text/csv"), answer.text
    return list(csv.reader(io.StringIO(answer.text)))


def cells(page: str) -> list[list[str]]:
    """Read what a page's first table shows, row by row."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [
            html.unescape(re.sub(r"<[^>]+>", "", cell)).strip()
            for cell in re.findall(r"<td.*?</td>", row, re.S)
        ]
        for row in re.findall(r"<tr>.*?</tr>", body, re.S)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_the_console_is_for_who_may_audit(service: Service, room: str) -> None:
    """A stranger is asked to sign in and comes back; a client without `audit:read` is told what it lacks."""
    with Person(service) as someone:
        stranger = someone.look(f"/console{room}")
        assert stranger.status_code == 303
        assert someone.place(stranger).startswith("/sign-in?next=%2Fconsole")
        someone.sign_in("demo")
        refused = someone.look(f"/console{room}")
    assert (refused.status_code, "audit:read" in refused.text) == (403, True)


def test_pages_follow_one_another_and_the_table_is_exported_whole(person: Person, demo: Caller) -> None:
    """Sixty predictions are two pages behind addresses of their own; the CSV holds all of them, and no formula."""
    reference = f"=1+{uuid.uuid4().hex[:8]}"
    demo.predict("housing", *({"age": age, "reference": reference} for age in range(60)))
    place = str(httpx.URL("/console", params={"reference": reference}))

    first = person.look(place)
    older = html.unescape(re.search(r'href="([^"]+)" rel="next"', first.text)[1])  # type: ignore[index]  # or it fails
    second = person.look(older)
    file = html.unescape(re.search(r'href="([^"]+format=csv)"', second.text)[1])  # type: ignore[index]  # or it fails
    exported = list(csv.DictReader(io.StringIO(person.look(file).text)))

    assert (len(cells(first.text)), len(cells(second.text))) == (50, 10)
    assert [each[5] for each in cells(first.text)[:2]] == ["23.88", "23.994"]
    assert [each["id"].rpartition(".")[2] for each in exported] == [str(at) for at in range(59, -1, -1)]
    assert {each["reference"] for each in exported} == {f"'{reference}"}
    assert set(exported[0]) > {"at", "model", "version", "label", "score", "client", "has_outcome", "erased"}


def test_a_file_holds_all_that_was_found(person: Person, demo: Caller) -> None:
    """More than ten thousand rows come whole, named as a file, from the page as from the API."""
    reference = uuid.uuid4().hex
    count = 5_100
    for _ in range(2):
        made = demo.predict("housing", *({"age": at % 100, "reference": reference} for at in range(count)))
        assert made.status_code == 201
    asked = {"reference": reference}

    file = person.look(str(httpx.URL("/console", params={**asked, "format": "csv"})))
    told = demo.http.get("/v1/predictions", params=asked, headers={"Accept": "text/csv"})

    assert file.headers["Content-Disposition"] == 'attachment; filename="predictions.csv"'
    assert file.text.count("\r\n") == 2 * count + 1
    assert file.text == told.text


def test_what_is_wrong_with_a_search_is_no_file(person: Person) -> None:
    """A condition that cannot be is said on the page, under 400; who is not signed in is asked to."""
    wrong = person.look("/console?score_min=x&format=csv")
    person.http.cookies.clear()
    stranger = person.look("/console?format=csv")

    assert (wrong.status_code, "Score from" in wrong.text) == (400, True)
    assert "Content-Disposition" not in wrong.headers
    assert stranger.status_code == 303


@pytest.mark.parametrize(
    "room",
    [
        "/models",
        "/models/income",
        "/models/iris/drift",
        "/models/iris/performance",
        "/models/income/alerts",
        "/clients",
        "/holds",
        "/events",
    ],
)
def test_every_table_is_a_file_too(person: Person, room: str) -> None:
    """Whatever a table shows, its CSV has the same rows."""
    page, exported = person.look(f"/console{room}"), rows(person.look(f"/console{room}?format=csv"))

    shown = cells(page.text)
    if room != "/events":  # where reading is an event itself
        assert len(shown) == len(exported) - 1
    assert len(exported[0]) > 3


def test_a_checkpoint_that_was_kept_is_held_against_the_ledger(person: Person, demo: Caller) -> None:
    """What was kept is proven to be the beginning; a changed root, a longer ledger and no checkpoint are told apart."""
    note = person.http.get("/v1/ledger/checkpoint", headers={"Accept": "*/*"}).text
    name, size, root = note.split("\n")[:3]
    demo.predict("housing", {"age": 50})

    def said(*lines: str) -> str:
        page = person.look(str(httpx.URL("/console/ledger", params={"kept": "\n".join(lines)}))).text
        return re.search(r'role="status">(.*?)</p>', page)[1]  # type: ignore[index]  # or it fails

    assert said(name, size, root).startswith("The ledger begins with exactly these records")
    assert "does NOT begin" in said(name, size, b64encode(bytes(32)).decode())
    assert "records are missing" in said(name, str(int(size) + 10**6), root)
    assert "another ledger" in said("elsewhere.example/1", size, root)
    assert "no checkpoint" in said("hello")


def test_drift_is_shown_as_a_table_and_a_picture(person: Person, demo: Caller) -> None:
    """A window of recorded predictions says how many it holds; its picture may load nothing, and says what it shows."""
    demo.predict(
        "iris", *([{"sepal_length": 5, "sepal_width": 3, "petal_length": 1, "petal_width": 0.2}] * 3)
    )

    page = person.look("/console/models/iris/drift?against=training")
    drawn = person.look("/console/models/iris/drift.svg?against=training")

    assert "beside 120 rows it was trained on" in page.text
    assert "petal_length" in [each[0] for each in cells(page.text)]
    assert drawn.headers["Content-Type"] == "image/svg+xml"
    assert "default-src 'none'" in drawn.headers["Content-Security-Policy"]


def test_performance_without_outcomes_says_why_there_is_none(person: Person, demo: Caller) -> None:
    """Where nobody reported anything, each metric says why it has no value; the picture is drawn all the same."""
    made = demo.predict("credit", dict(EXAMPLES["credit"])).json()["predictions"][0]
    since = demo.http.get(f"/v1/predictions/{made['id']}").json()["at"]

    page = person.look(str(httpx.URL("/console/models/credit/performance", params={"from": since})))
    drawn = person.look("/console/models/credit/performance.svg?plot=progress")

    assert "Nobody has reported what really happened" in page.text
    assert {(each[0] == "", each[1], each[6] == "") for each in cells(page.text)} == {(False, "", False)}
    assert drawn.headers["Content-Type"] == "image/svg+xml"


def test_a_champion_that_was_changed_meanwhile_is_not_overwritten(person: Person) -> None:
    """The form carries what was read; sent with another tag it is refused, sent by another site, too."""
    token = hidden(person.look("/console/models/income").text, "csrf_token")
    stale = {"csrf_token": token, "version": "1", "etag": '"of-yesterday"'}

    refused = person.http.post("/console/models/income/champion", data=stale)
    foreign = person.http.post(
        "/console/models/income/champion", data=stale, headers={"Sec-Fetch-Site": "cross-site"}
    )
    forged = person.http.post("/console/models/income/champion", data=stale | {"csrf_token": "x"})

    assert [each.status_code for each in (refused, foreign, forged)] == [412, 403, 400]


def test_a_champion_is_chosen_by_the_tag_that_was_read(person: Person, admin: Caller) -> None:
    """Sent with the tag that was read, the form lets the version answer; one that is not registered is not found."""
    place = "/console/models/credit"
    token = hidden(person.look(place).text, "csrf_token")

    def choose(version: str) -> httpx.Response:
        etag = admin.http.get("/v1/models/credit/aliases/champion").headers["ETag"]
        form = {"csrf_token": token, "version": version, "etag": etag}
        return person.http.post(f"{place}/champion", data=form)

    assert [choose(version).status_code for version in ("1", "99")] == [303, 404]


def test_a_time_keeps_its_place_in_the_field(person: Person) -> None:
    """Whatever zone an address names, the field shows the same moment in UTC, as a browser's own field takes it."""
    page = person.look(
        str(httpx.URL("/console", params={"from": "2026-11-20T10:30:00+02:00", "to": "2026-11-21T09:30"}))
    )

    assert 'value="2026-11-20T08:30:00"' in page.text
    assert 'value="2026-11-21T09:30:00"' in page.text


def test_a_new_secret_is_shown_once_and_the_leaked_one_is_dead(person: Person, service: Service) -> None:
    """Rotated as leaked, a client signs in with the new secret only."""
    form = {"name": "rotated by hand", "scope": "predict"}
    made = person.send("/console/clients/new", form).text
    client_id, first = re.findall(r"<code[^>]*>([^<]+)</code>", made)[:2]

    page = person.send(
        f"/console/clients/{client_id}/secrets", {"previous": "dead"}, seen=f"/console/clients/{client_id}"
    )

    second = re.findall(r"<code[^>]*>([^<]+)</code>", page.text)[1]
    with Caller(service.url, client_id, second) as caller:
        assert caller.predict("housing", {"age": 50}).status_code == 201
    with pytest.raises(httpx.HTTPStatusError):
        Caller(service.url, client_id, first)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 21])
def test_the_picture_leads_to_the_root(service: Service, size: int) -> None:
    """For every leaf of a tree the path that is drawn ends at its root, and a wrong root is said to be wrong."""
    leaves = [bytes([number]) for number in range(size)]
    for index in range(size):
        hashes = tuple(_siblings([leaf_hash(each) for each in leaves], index))
        root = _root([leaf_hash(each) for each in leaves])
        drawn = picture(_receipt(leaves[index], index, size, hashes, root))
        assert (drawn.leads, drawn.levels[-1].node, len(lefts(index, size))) == (
            True,
            root.hex(),
            len(hashes),
        )
        assert not picture(_receipt(leaves[index], index, size, hashes, bytes(32))).leads


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    left = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(_root(hashes[:left]), _root(hashes[left:]))


def _siblings(hashes: list[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    left = 1 << (len(hashes) - 1).bit_length() - 1
    if index < left:
        return [*_siblings(hashes[:left], index), _root(hashes[left:])]
    return [*_siblings(hashes[left:], index - left), _root(hashes[:left])]


def _receipt(leaf: bytes, index: int, size: int, hashes: tuple[bytes, ...], root: bytes) -> dict[str, str]:
    note = Checkpoint(origin="here", size=size, root=root).text() + b"\n" + "— here AAAAAAAA\n".encode()
    proof = Proof(index=index, hashes=hashes, checkpoint=note)
    return {"leaf": b64encode(leaf).decode(), "proof": proof.encode().decode()}
