"""The page of how good a model is, with answers of the API as they are once outcomes were reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api import contract, keys
from api.app import CONTRACT
from api.pages import quality, versions
from api.pages.access import Access, Visitor
from api.pages.application import create_pages
from api.pages.calling import Answered, ApiRefused, Inside, Question
from api.settings import Settings

TEST_ROWS = {"test_rows": 9769, "name": "Adult", "train_rows": 39073}
RATE = {"value": 0.8671, "low": 0.86, "high": 0.874, "n": 500}
NONE = {"value": None, "low": None, "high": None, "n": 3, "reason": "fewer than 10 outcomes"}
LIVE = {
    "n": 1234,
    "outcomes": 500,
    "metrics": {"accuracy_score": RATE, "roc_auc_score": NONE},
    "confusion_matrix": {"labels": ["<=50K", ">50K"], "counts": [[400, 20], [30, 50]]},
    "calibration": [
        {"low": 0.0, "high": 0.1, "predicted": 0.05, "observed": {**RATE, "value": 0.06}},
        {"low": 0.1, "high": 0.2, "predicted": 0.15, "observed": NONE},
    ],
}
ANSWERS: dict[str, Any] = {
    "/v1/models/income": {"aliases": {"champion": "1"}},
    "/v1/models/income/versions/1": {"metrics": {"accuracy_score": 0.87}, "data": TEST_ROWS, "features": []},
    "/v1/models/income/performance": LIVE,
}


def _ask(question: Question) -> Answered:
    if question.path not in ANSWERS:
        raise ApiRefused(Answered(status=409, raw=b"", headers={}))
    return Answered(status=200, raw=b"", headers={}, content=ANSWERS[question.path])


def _page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visitor: Visitor) -> str:
    keys.create(tmp_path, "ES256")
    settings = Settings.from_environment({"ONRECORD_VAR": str(tmp_path)})
    monkeypatch.setattr(Access, "visitor", lambda _self, _model: visitor)
    for each in (quality, versions):
        monkeypatch.setattr(each, "ask", _ask)
    pages = create_pages(settings, contract.read(CONTRACT, 10), Inside())
    answer = pages.test_client().get("/models/income/performance", headers={"Accept-Language": "de"})
    assert answer.status_code == 200
    return answer.text


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Render the page of income for a visitor that may read models."""
    visitor = Visitor(token="t", scopes=frozenset({"models:read"}))
    return _page(tmp_path, monkeypatch, visitor)


def test_strangers_are_told_of_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came of all clients' predictions, which is dear to compute, is not for who did not sign in."""
    stranger = Visitor(token="t", scopes=frozenset({"models:read"}), is_public=True)

    page = _page(tmp_path, monkeypatch, stranger)

    assert "After training" in page and "87" in page
    assert "In use" not in page


def test_measures_in_use_stand_beside_their_confidence(page: str) -> None:
    """Each value has its interval, as the reader writes numbers; where none is known, none is shown."""
    row = " ".join(page[page.index('<th scope="row">Accuracy') :].split())
    unknown = " ".join(page[page.index('<th scope="row">ROC AUC') :].split())

    assert "Of 1.234 predictions, 500 can be compared" in page
    assert row.startswith(
        '<th scope="row">Accuracy</th><td class="number">0,867</td> <td class="number">0,86 to 0,874'
    )
    assert '<td class="number">–</td>' in unknown[:120]


def test_confusion_and_calibration_are_drawn(page: str) -> None:
    """Both plots are there, of what is known, with a text alternative and without a style of their own."""
    assert "450 of 500 are right" in page
    assert "0.05 was 0.06" in page
    assert page.count('role="img"') == 2
    assert "<style" not in page and "style=" not in page
