"""Who asks for strangers: a client that may do no more than they should, signed in by one of them for all."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from api import contract, keys
from api.app import CONTRACT
from api.line import Line
from api.pages import access, granting, session
from api.pages.access import Access, FormClosed
from api.pages.application import create_pages
from api.pages.calling import Inside
from api.pages.granting import Granted, GrantRefused
from api.problems import RequestRefused
from api.settings import Settings
from api.throttle import Failures
from tests.engines import wait_for

NEEDED = "models:read predict predictions:read"


def _granted(scope: str = NEEDED) -> Granted:
    return Granted(token="t", client_id="forms", scope=scope, expires_in=300)


@pytest.fixture
def forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """Open a form; nobody is signed in."""
    monkeypatch.setattr(session, "signed", lambda: None)
    settings = Settings.from_environment({"ONRECORD_VAR": str(tmp_path), "ONRECORD_PUBLIC_FORMS": "housing"})
    file = settings.client_file("public-forms")
    file.parent.mkdir()
    file.write_text(json.dumps({"client_id": "forms", "client_secret": "s"}))
    return Access(settings, ["housing"])


@pytest.mark.parametrize("more", ["audit:read", "models:write", "clients:write"])
def test_strangers_get_no_client_that_may_do_more(
    forms: Access, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """A form of a client with a scope beyond what forms need stays closed; scopes of other services do no harm."""
    monkeypatch.setattr(granting, "granted", lambda *_, **__: _granted(f"{NEEDED} profile {more}"))
    with pytest.raises(FormClosed):
        forms.visitor("housing")

    monkeypatch.setattr(granting, "granted", lambda *_, **__: _granted(f"{NEEDED} profile"))
    forms._file.write_text('{"client_id": "forms", "client_secret": "new"}')

    assert forms.visitor("housing").scopes == {*NEEDED.split(), "profile"}


@pytest.mark.parametrize(
    "refused", [GrantRefused("the issuer is away"), RequestRefused("issuer-unavailable", "no keys yet")]
)
def test_an_issuer_that_gives_nothing_closes_the_form(
    forms: Access, monkeypatch: pytest.MonkeyPatch, refused: Exception
) -> None:
    """Whatever the issuer says, or does not, strangers are told that the form is closed; so is a file that is gone."""

    def refuse(*_: object, **__: object) -> Granted:
        raise refused

    monkeypatch.setattr(granting, "granted", refuse)
    with pytest.raises(FormClosed):
        forms.visitor("housing")
    forms._file.unlink()
    with pytest.raises(FormClosed):
        forms.visitor("housing")


def test_keys_that_are_not_known_yet_are_no_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who signs in before the issuer's keys are known is told to come again, not that too many attempts failed."""

    def refuse(*_: object) -> Granted:
        raise RequestRefused("issuer-unavailable", "no keys yet")

    keys.create(tmp_path, "ES256")
    settings = Settings.from_environment({"ONRECORD_VAR": str(tmp_path)})
    pages = create_pages(
        settings, contract.read(CONTRACT, 10), Inside(), refuse, Failures(Line(tmp_path, 1, 1), 0)
    )
    pages.config["WTF_CSRF_ENABLED"] = False
    monkeypatch.setattr(granting, "granted", refuse)

    answer = pages.test_client().post("/sign-in", data={"client_id": "loans", "client_secret": "s"})

    assert answer.status_code == 503
    assert answer.text.count("cannot check this right now") == 2
    assert "Too many attempts" not in answer.text


def test_one_visitor_waits_for_an_issuer_and_no_other(forms: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the issuer lets one page wait, others say that the form is closed, and are free again."""
    asked, answer, came = threading.Event(), threading.Event(), list[access.Visitor]()

    def slow(*_: object, **__: object) -> Granted:
        asked.set()
        assert answer.wait(60)
        return _granted()

    monkeypatch.setattr(granting, "granted", slow)
    monkeypatch.setattr(access, "TURN_S", 0.01)
    first = threading.Thread(target=lambda: came.append(forms.visitor("housing")))
    first.start()
    try:
        assert asked.wait(60)
        with pytest.raises(FormClosed):
            forms.visitor("housing")
    finally:
        answer.set()
        first.join(60)

    wait_for(lambda: len(came) == 1)
    assert forms.visitor("housing").is_public
