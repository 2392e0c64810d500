"""What a page says when something is not as it should be: to people as a page, to programs as a problem."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from flask import Flask, Response, redirect, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import Forbidden, HTTPException

from api import logs
from api.pages import session
from api.pages.calling import ApiRefused
from api.pages.session import SignInNeeded
from api.problems import MEDIA_TYPE, PROBLEMS, body

_OF_THE_SESSION = ("csrf_token", "once")
_TOLD = ("Allow", "Retry-After")


class ForeignForm(Forbidden):
    """A form came from a page of another site."""

    description = (
        "A page of another site sent this form. Nothing was done. Open our page and send it from there."
    )


def install(pages: Flask) -> None:
    """Answer everything that pages can raise."""
    pages.register_error_handler(HTTPException, _http)
    pages.register_error_handler(CSRFError, _stale)
    pages.register_error_handler(SignInNeeded, _sign_in)
    pages.register_error_handler(ApiRefused, _refused)


def page(status: int, title: str, text: str, *more: str) -> Response:
    """Say to a person what happened, and what to do next."""
    return Response(render_template("error.html", title=title, text=text, more=more), status)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if _is_person():
        titles = {404: "There is nothing at this address", 403: "This was refused", 503: "Not right now"}
        text = (
            "Look at the spelling, or begin at the start page." if status == 404 else error.description or ""
        )
        answer = page(status, titles.get(status, error.name), text)
        answer.headers.extend([pair for pair in error.get_headers() if pair[0] in _TOLD])
        return answer
    slugs = {404: "not-found", 405: "method-not-allowed", 403: "forbidden", 413: "too-large"}
    slugs |= {429: "quota-exceeded", 503: "unavailable"}
    slug = slugs.get(status, "bad-request" if status < 500 else "internal")
    headers = {name: value for name, value in error.get_headers() if name in _TOLD}
    detail = "there is no such address" if status in (404, 405) else error.description or error.name
    return Response(
        body(slug, detail, request_id=logs.request_name()),
        PROBLEMS[slug].status,
        headers,
        content_type=MEDIA_TYPE,
    )


def _stale(error: CSRFError) -> Response:
    if not _is_person():
        return _http(error)
    text = (
        "Its sign-in is over, or cookies are switched off. Nothing was done. Go back, load the page again and "
        "send it once more."
    )
    return page(400, "This form is no longer good", text)


def _sign_in(_error: SignInNeeded) -> Response:
    """Ask to sign in and come back: to this very page, or to the one whose form was sent too late."""
    place = request.full_path.removesuffix("?")
    if request.method == "POST":
        kept = {name: text for name, text in request.form.items() if name not in _OF_THE_SESSION}
        is_form = request.endpoint == "models.predict"  # the page behind it fills itself in from its address
        place = f"{request.path}?{urlencode(kept)}" if is_form and kept else request.path
    target = f"{request.script_root}/sign-in?{urlencode({'next': session.local(place)})}"
    answer = redirect(target, 303)
    assert isinstance(answer, Response)
    return answer


def _refused(error: ApiRefused) -> Response:
    """Show a refusal of the API under its own status; a dead token means to sign in."""
    if error.status == 401:
        session.end()
        return _sign_in(SignInNeeded())
    title = str(error.content.get("title") or HTTPStatus(error.status).phrase)
    more = [f"{each.get('pointer', '')} {each.get('detail', '')}".strip() for each in error.errors]
    answer = page(error.status, title, _what_to_do(error), *more)
    if "Retry-After" in error.headers:
        answer.headers["Retry-After"] = error.headers["Retry-After"]
    return answer


def _what_to_do(error: ApiRefused) -> str:
    if error.status == 403:
        return f"{error}. Ask whoever runs this service for it, or sign in as another client."
    if error.status in (429, 503):
        wait = error.headers.get("Retry-After", "a few")
        return f"{error}. Nothing is lost: wait {wait} seconds and load this page again."
    if error.status == 404:
        return "It does not exist, or belongs to another client."
    return f"{error}."


def _is_person() -> bool:
    return request.accept_mimetypes.best_match(["text/html", MEDIA_TYPE], MEDIA_TYPE) == "text/html"
