"""The pages put together: routes, sessions, forms that only our own pages can send, headers that allow nothing else."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, abort, render_template, request
from flask_wtf.csrf import CSRFProtect

from api import keys
from api.calls import Claims
from api.console import entrance as console
from api.contract import Contract
from api.pages import calling, docs, entering, errors, granting, locales, session
from api.pages.access import Access
from api.pages.answers import create_answers
from api.pages.calling import Inside
from api.pages.home import create_home
from api.pages.models import create_models
from api.pages.quality import create_quality
from api.pages.signing import signing
from api.problems import PROBLEMS
from api.settings import Settings
from api.throttle import Failures

# Styles and pictures of our own, forms to ourselves; no script at all.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
MAX_FIELDS = 500
STATIC_S = 3600


def create_pages(
    settings: Settings,
    contract: Contract,
    inside: Inside,
    believe: Callable[[str], Claims],
    failures: Failures,
) -> Flask:
    """Build everything a person can look at; raises KeyRefused where the cookie's key cannot be made."""
    pages = Flask("api", template_folder="templates", static_folder="static", static_url_path="/static")
    pages.config.update(
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session it belongs to
        WTF_CSRF_SSL_STRICT=False,  # looks at Referer; we look at Sec-Fetch-Site, which no proxy drops
        MAX_FORM_PARTS=MAX_FIELDS,
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_S,
    )
    session.install(pages, settings, keys.read_cursor_key(settings.var), believe)
    granting.install(pages, settings, failures)
    calling.install(pages, inside)
    CSRFProtect(pages)
    locales.install(pages)
    pages.jinja_env.globals.update(has_docs=settings.docs, signed=session.signed)
    pages.jinja_env.tests["day"] = entering.is_day
    pages.jinja_env.trim_blocks = pages.jinja_env.lstrip_blocks = True
    access = Access(settings, contract.models)
    pages.register_blueprint(create_home(contract, access))
    pages.register_blueprint(create_models(contract, access))
    pages.register_blueprint(create_answers(contract, access))
    pages.register_blueprint(create_quality(contract, access))
    pages.register_blueprint(signing)
    flow = contract.document["components"]["securitySchemes"]["token"]["flows"]["clientCredentials"]
    console.install(pages, contract.models, flow["scopes"])
    _add_problems(pages)
    if settings.docs:
        pages.register_blueprint(docs.docs)
    pages.url_map.merge_slashes = False  # a redirect would be built from the Host header
    pages.before_request(_options)
    pages.before_request(_refuse_foreign)
    errors.install(pages)
    pages.after_request(_harden)
    return pages


def _add_problems(pages: Flask) -> None:
    @pages.get("/problems/<slug>")
    def problem(slug: str) -> str:
        if slug not in PROBLEMS:
            abort(404)
        return render_template("problem.html", slug=slug, problem=PROBLEMS[slug])


def _options() -> Response | None:
    """Answer OPTIONS as the API does."""
    if request.method != "OPTIONS" or request.url_rule is None:
        return None
    allowed = ", ".join(sorted(request.url_rule.methods or ()))
    return Response(status=204, headers={"Allow": allowed})


def _refuse_foreign() -> None:
    """Refuse a form that another site's page sent; browsers say so, and no page can make them say otherwise."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise errors.ForeignForm


def _harden(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    # Not no-referrer: a browser would then send `Origin: null` with every form.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response
