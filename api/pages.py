"""The pages of a door: plain Flask, server-rendered, no power of their own."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response, abort, render_template, request, send_from_directory
from swagger_ui_bundle import swagger_ui_path
from werkzeug.exceptions import HTTPException

from api import logs
from api.contract import Contract
from api.problems import MEDIA_TYPE, PROBLEMS, body
from api.settings import Settings

# The console's own scripts only; swagger-ui writes styles into elements and draws its icons from data: addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})


def create_pages(settings: Settings, contract: Contract) -> Flask:
    """Build the start page, the console and the page behind every problem's type."""
    pages = Flask("api", template_folder="templates", static_folder="static", static_url_path="/static")
    pages.jinja_env.globals["has_docs"] = settings.docs

    @pages.get("/")
    def start() -> str:
        return render_template(
            "start.html", models=sorted(contract.models.values(), key=lambda each: each.model)
        )

    @pages.get("/problems/<slug>")
    def problem(slug: str) -> str:
        if slug not in PROBLEMS:
            abort(404)
        return render_template("problem.html", slug=slug, problem=PROBLEMS[slug])

    if settings.docs:
        _add_console(pages)
    pages.url_map.merge_slashes = False  # a redirect would be built from the Host header
    pages.before_request(_options)
    pages.register_error_handler(HTTPException, _error)
    pages.after_request(_harden)
    return pages


def _add_console(pages: Flask) -> None:
    @pages.get("/docs")
    def console() -> str:
        return render_template("console.html")

    @pages.get("/docs/<asset>")
    def console_asset(asset: str) -> Response:
        if asset not in _ASSETS:
            abort(404)
        return send_from_directory(Path(swagger_ui_path), asset, max_age=86400)


def _options() -> Response | None:
    """Answer OPTIONS as the API does."""
    if request.method != "OPTIONS" or request.url_rule is None:
        return None
    allowed = ", ".join(sorted(request.url_rule.methods or ()))
    return Response(status=204, headers={"Allow": allowed})


def _error(error: HTTPException) -> Response:
    """Answer people with a page and programs with a problem."""
    status = error.code or 500
    if request.accept_mimetypes.best_match(["text/html", MEDIA_TYPE], MEDIA_TYPE) == "text/html":
        return Response(render_template("error.html", error=error), status, error.get_headers())
    slugs = {404: "not-found", 405: "method-not-allowed"}
    slug = slugs.get(status, "bad-request" if status < 500 else "internal")
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    headers["Cache-Control"] = "no-store"
    return Response(
        body(slug, "there is no such address", request_id=logs.request_name()),
        PROBLEMS[slug].status,
        headers,
        content_type=MEDIA_TYPE,
    )


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
