"""The page of how good a model is, with answers of the API as they are once outcomes were reported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api import contract, keys
from api.app import CONTRACT
from api.calls import Claims
from api.jwts import TokenRefused
from api.line import Line
from api.pages import locales
from api.pages.access import Access, Visitor
from api.pages.application import create_pages
from api.pages.calling import Answered, ApiRefused, Inside, Question
from api.settings import Settings
from api.throttle import Failures

TEST_ROWS = {"test_rows": 9769, "name": "Adult", "train_rows": 39073}
RATE = {"value": 0.8671, "low": 0.86, "high": 0.874, "n": 500}
NONE = {"value": None, "low": None, "high": None, "n": 3, "reason": "fewer than 10 outcomes"}
RULE = {"metric": "psi", "window_s": 86400, "direction": "above", "threshold": 0.25, "minimum_n": 200}
SINCE = "2026-11-20T17:14:16.000000Z"
QUIET = {**RULE, "alert": "calm", "state": "unknown"}
FIRING = {**RULE, "alert": "drifted", "state": "firing", "since": SINCE, "value": 0.31, "evaluated_at": SINCE}
CURVE = {
    "false_positive_rate": [0, 0.1, 0.3, 1],
    "true_positive_rate": [0, 0.6, 0.9, 1],
    "precision": [None, 0.5, 0.4, 0.16],
    "threshold": [None, 0.7, 0.2, None],
}
AUC = {"value": 0.83, "low": 0.8, "high": 0.86, "n": 500, "at_training": 0.92}
LIVE = {
    "kind": "classifier",
    "n": 1234,
    "outcomes": 500,
    "roc_curve": CURVE,
    "buckets": [{"from": "2026-11-20T00:00:00.000000Z", "metrics": {"accuracy_score": RATE}}],
    "metrics": {
        "accuracy_score": RATE,
        "roc_auc_score": AUC,
        "average_precision_score": AUC,
        "log_loss": NONE,
    },
    "confusion_matrix": {"labels": ["<=50K", ">50K"], "counts": [[400, 20], [30, 50]]},
    "calibration": [
        {"low": 0.0, "high": 0.1, "predicted": 0.05, "observed": {**RATE, "value": 0.06}},
        {"low": 0.1, "high": 0.2, "predicted": 0.15, "observed": NONE},
    ],
}
ANSWERS: dict[str, Any] = {
    "/v1/models/income": {"aliases": {"champion": "1"}},
    "/v1/models/income/versions/1": {
        "metrics": {"accuracy_score": 0.87, "roc_auc_score": 0.92},
        "data": TEST_ROWS,
        "features": [],
        "roc_curve": CURVE,
        "calibration": [
            {"predicted": 0.1, "observed": 0.12, "n": 400},
            {"predicted": 0.4, "observed": 0.5, "n": 400},
        ],
    },
    "/v1/models/income/performance": LIVE,
    "/v1/models/income/alerts": {"alerts": [QUIET, FIRING]},
}


def _ask(question: Question) -> Answered:
    if question.path not in ANSWERS:
        raise ApiRefused(Answered(status=409, raw=b"", headers={}))
    return Answered(status=200, raw=b"", headers={}, content=ANSWERS[question.path])


def _believe(_token: str) -> Claims:
    raise TokenRefused("nobody is signed in")


def _page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visitor: Visitor, asked: str = "", model: str = "income"
) -> str:
    keys.create(tmp_path, "ES256")
    settings = Settings.from_environment({"ONRECORD_VAR": str(tmp_path)})
    monkeypatch.setattr(Access, "visitor", lambda _self, _model: visitor)
    pages = create_pages(
        settings, contract.read(CONTRACT, 10), Inside(), _believe, Failures(Line(tmp_path, 1, 1), 0)
    )
    answer = pages.test_client().get(f"/models/{model}/performance{asked}", headers={"Accept-Language": "de"})
    assert answer.status_code == 200
    return answer.text


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Render the page of income for a visitor that may read models."""
    visitor = Visitor(ask=_ask, scopes=frozenset({"models:read"}))
    return _page(tmp_path, monkeypatch, visitor)


def test_strangers_are_told_of_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came of all clients' predictions, which is dear to compute, is not for who did not sign in."""
    stranger = Visitor(ask=_ask, scopes=frozenset({"models:read"}), is_public=True)

    page = _page(tmp_path, monkeypatch, stranger)

    assert "After training" in page and "87" in page
    assert "Held out of training: area 0,92" in page
    assert "In use" not in page and "in use" not in page


def test_measures_in_use_stand_beside_their_confidence(page: str) -> None:
    """Each value has its interval, as the reader writes numbers; where none is known, none is shown."""
    row = " ".join(page[page.index('<th scope="row">Accuracy') :].split())
    unknown = " ".join(page[page.index('<th scope="row">Log loss') :].split())

    assert "Of 1.234 predictions, 500 can be compared" in page
    assert row.startswith(
        '<th scope="row">Accuracy</th><td class="number">0,867</td> <td class="number">0,86 to 0,874'
    )
    assert '<td class="number">–</td>' in unknown[:120]


def test_every_picture_is_drawn(page: str) -> None:
    """Each plot is there, of what is known, named, with a text alternative and without a style of its own."""
    assert "450 of 500 are right" in page
    assert "0,05 was 0,06" in page
    assert "In use: area 0,83, 0,8 to 0,86 (95 %), 500 predictions" in page
    assert "In use: average precision 0,83" in page
    assert "Accuracy: 0,867 on 2026-11-20" in page
    for name in ("Over time", "ROC curve", "Precision and recall", "Calibration", "Confusion matrix"):
        assert f"<figcaption>{name}: " in page
    assert page.count('role="img"') == 5
    assert "<style" not in page and "style=" not in page


def test_numbers_of_a_plot_are_written_as_the_reader_does() -> None:
    """Thousands and fractions are; places of what is drawn, dates, names and powers of ten are left alone."""
    kept = '<circle cx="1.5"/><text>2026-11-20 v1.2 a-1.5 1e-05 9.6e-19 127.0.0.1</text>'
    pages = Flask(__name__)
    with pages.test_request_context(headers={"Accept-Language": "de"}):
        assert locales.drawn(kept) == kept
        assert locales.drawn("<text>0.83, -1.5 of 1,234 and 12,345.6.</text>") == (
            "<text>0,83, -1,5 of 1.234 and 12.345,6.</text>"
        )


def test_alerts_say_what_they_look_at(page: str) -> None:
    """What fires says since when and why; what nobody looked at yet says so."""
    text = " ".join(re.sub("<[^>]+>", "", page).split())

    assert "Drifted: fires since 20 November 2026, 17:14:16 UTC. psi is 0,31 and fires above 0,25." in text
    assert "Calm: not evaluated yet." in text


def test_a_number_says_how_far_off_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a regressor, the middle half and nine tenths of the errors are said, in the unit of the answer."""
    visitor = Visitor(ask=_ask, scopes=frozenset({"models:read"}))
    errors = [{"quantile": each, "error": 10 * each - 4} for each in (0.05, 0.25, 0.5, 0.75, 0.95)]
    live = {"kind": "regressor", "n": 40, "outcomes": 40, "metrics": {}, "errors": errors}
    told = {
        "": {"aliases": {"champion": "1"}},
        "/versions/1": {"metrics": {}, "data": TEST_ROWS, "features": []},
        "/performance": live,
        "/alerts": {"alerts": []},
    }
    for path, content in told.items():
        monkeypatch.setitem(ANSWERS, f"/v1/models/housing{path}", content)

    page = _page(tmp_path, monkeypatch, visitor, model="housing")

    assert "is not kept of this version, which was trained before" in page
    assert "Half of the answers were off by -1,5 to 3,5, nine in ten by -3,5 to 5,5 (in 1,000 $)" in page


GROUP = {
    "predicted": 20, "actual": 21, "actual_low": 18, "actual_high": 24, "error_low": -4, "error_high": 2, "n": 12,
}  # fmt: skip


@pytest.mark.parametrize("is_used", [False, True])
def test_a_number_is_drawn_beside_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_used: bool
) -> None:
    """Of a regressor the held-out rows are drawn, then what happened beside them; the figures are a table, too."""
    visitor = Visitor(ask=_ask, scopes=frozenset({"models:read"}))
    off = {"value": 3, "low": 2, "high": 4, "n": 12, "at_training": 4}
    live = {"kind": "regressor", "n": 12, "outcomes": 12, "metrics": {"mean_absolute_error": off}}
    told = {
        "": {"aliases": {"champion": "1"}},
        "/versions/1": {
            "metrics": {"mean_absolute_error": 4},
            "data": TEST_ROWS,
            "features": [],
            "actuals": [GROUP],
        },
        "/performance": {**live, "actuals": [GROUP], "at_training": {"actuals": [GROUP]}}
        if is_used
        else {**live, "n": 0, "outcomes": 0},
        "/alerts": {"alerts": []},
    }
    for path, content in told.items():
        monkeypatch.setitem(ANSWERS, f"/v1/models/housing{path}", content)

    page = _page(tmp_path / "page", monkeypatch, visitor, model="housing")
    file = _page(tmp_path / "file", monkeypatch, visitor, "?format=csv&table=actuals", model="housing")

    said = "Predicted and, on average, actual: 20 was 21."
    before = "off by 4 on average. "
    assert (f"In use: off by 3 on average; held out of training: {before}{said}" in page) == is_used
    assert (f"Held out of training: {before}{said}" in page) != is_used
    for name in ("Predicted and actual", "Errors"):
        assert page.count(f"<figcaption>{name}: ") == 1
    assert "trained before" not in page
    assert "<caption>What happened by what was answered" in page
    sides = ["in use", "held out of training"] if is_used else ["held out of training"]
    assert file.splitlines()[1:] == [f"{each},20,21,18,24,-4,2,12" for each in sides]


def test_the_tables_are_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measures and the points of the curve, all of them, are a file each."""
    visitor = Visitor(ask=_ask, scopes=frozenset({"models:read"}))

    file = _page(tmp_path, monkeypatch, visitor, "?format=csv&table=roc_curve")

    assert file.splitlines() == [
        "threshold,false_positive_rate,true_positive_rate,precision",
        *(",0,0,", "0.7,0.1,0.6,0.5", "0.2,0.3,0.9,0.4", ",1,1,0.16"),
    ]
