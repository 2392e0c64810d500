"""Signing in with a client's id and secret, and out again."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired

from api import times
from api.pages import errors, granting, locales, session
from api.pages.calling import ApiRefused, Question, ask
from api.pages.granting import FORM, GrantRefused
from api.pages.session import Signed
from api.problems import RequestRefused

_LATER = "The service cannot check this right now; try again in a moment"
signing = Blueprint("signing", __name__)


class Everywhere(FlaskForm):  # type: ignore[misc]  # flask-wtf ships no types
    """What a person gives to sign the client out everywhere."""

    client_secret = PasswordField(
        "Client secret",
        [InputRequired("Enter the client secret")],
        description="Asked again, so that nobody else who sits here can stop this client's programs",
    )


class SignIn(FlaskForm):  # type: ignore[misc]  # flask-wtf ships no types
    """What a person gives to sign in."""

    client_id = StringField(
        "Client id", [InputRequired("Enter the client id")], description="For example, demo-ajr6cydfsy"
    )
    client_secret = PasswordField("Client secret", [InputRequired("Enter the client secret")])


@signing.get("/sign-in")
def ask_in() -> str:
    """Ask who it is."""
    return _shown(SignIn(formdata=None))


@signing.post("/sign-in")
def sign_in() -> str | tuple[str, int] | Response:
    """Get a token for the client and go on to where the person was."""
    form = SignIn()
    if not form.validate():
        return _shown(form), 400
    try:
        got = granting.granted(form.client_id.data.strip(), form.client_secret.data.strip())
    except ApiRefused as refused:
        form.client_secret.errors = [_said(refused)]
        return _shown(form), refused.status if refused.status in (400, 401, 429) else 503
    except GrantRefused as refused:
        form.client_secret.errors = [str(refused)]
        return _shown(form), refused.status
    except RequestRefused as late:
        form.client_secret.errors = [_late(late.fault.headers) if late.fault.status == 429 else _LATER]
        return _shown(form), late.fault.status
    signed = Signed(client_id=got.client_id, scopes=frozenset(got.scope.split()), token=got.token)
    session.begin(signed, got.expires_in)
    return _to(session.local(request.args.get("next")))


@signing.post("/sign-out")
def sign_out() -> Response:
    """Forget the token here, and void it everywhere: whoever copied the cookie holds nothing."""
    who = session.signed()
    if who is None:
        session.end()
        return _to("/")
    until = times.text(session.until_s() * 1_000_000)
    session.end()
    given = urlencode({"token": who.token}).encode()
    try:
        ask(Question(method="POST", path="/oauth/revoke", token=who.token, body=given, headers=FORM))
    except ApiRefused as refused:
        if refused.status != 401:  # then it is void already
            text = (
                "This browser has forgotten the sign-in, but the service could not void it: whoever copied the cookie "
                f"could go on until {locales.when(until)}. Sign in once more and out again in a moment."
            )
            return errors.page(503, "Signed out, in this browser only", text)
    return _to("/")


@signing.get("/sign-out-everywhere")
def ask_everywhere() -> str:
    """Say what it does, and ask for the secret."""
    who, other = session.needed(), granting.issuer()
    return render_template("sign-out.html", form=Everywhere(formdata=None), who=who, issuer=other)


@signing.post("/sign-out-everywhere")
def sign_out_everywhere() -> str | tuple[str, int] | Response:
    """Void every token of the client: of this session, of its other sessions, and of its programs."""
    form, who = Everywhere(), session.needed()
    if granting.issuer() is not None:  # which alone could
        return ask_everywhere(), 409
    if not form.validate():
        return render_template("sign-out.html", form=form, who=who), 400
    secret = form.client_secret.data.strip()
    given = {"token": who.token, "every": "true", "client_id": who.client_id, "client_secret": secret}
    try:
        ask(Question(method="POST", path="/oauth/revoke", body=urlencode(given).encode(), headers=FORM))
    except ApiRefused as refused:
        form.client_secret.errors = [_said(refused)]
        return render_template("sign-out.html", form=form, who=who), refused.status
    session.end()
    return _to("/")


def _shown(form: SignIn) -> str:
    place = session.local(request.args.get("next"))
    is_over, issuer = session.was_signed(), granting.issuer()
    return render_template("sign-in.html", form=form, next=place, is_over=is_over, issuer=issuer)


def _said(refused: ApiRefused) -> str:
    if refused.status == 401:
        return "The client id or the client secret is wrong, or the client was disabled"
    if refused.status == 429:
        return _late(refused.headers)
    if refused.status == 400:
        return (
            f"Nobody can sign in so: {refused.content.get('error_description', 'the entry cannot be read')}"
        )
    return _LATER


def _late(headers: Mapping[str, str]) -> str:
    return f"Too many attempts failed from here; try again in {headers.get('Retry-After', '60')} seconds"


def _to(place: str) -> Response:
    answer = redirect(request.script_root + place, 303)
    assert isinstance(answer, Response)
    return answer
