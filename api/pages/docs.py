"""The explorer's page: swagger-ui of the contract, all of it served from here."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, render_template, send_from_directory
from swagger_ui_bundle import swagger_ui_path

docs = Blueprint("docs", __name__)
# Its own scripts only; swagger-ui writes styles into elements and draws its icons from data: addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})


@docs.get("/docs")
def explorer() -> Response:
    """Draw the contract."""
    return Response(render_template("docs.html"), headers={"Content-Security-Policy": _POLICY})


@docs.get("/docs/<asset>")
def asset(asset: str) -> Response:
    """Serve one of swagger-ui's files."""
    if asset not in _ASSETS:
        abort(404)
    return send_from_directory(Path(swagger_ui_path), asset, max_age=86400)
