"""Plots of the API as pictures of a page: their numbers as the reader writes them, and a policy to load nothing."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response

from api.pages import locales, session
from api.pages.calling import Question, ask

SVG = "image/svg+xml"
# A picture brings a few words of style of its own, for light and dark.
_POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def picture(path: str, query: Mapping[str, str]) -> Response:
    """Ask for a plot as who looks at the page."""
    question = Question(method="GET", path=path, query=query, token=session.token(), headers={"Accept": SVG})
    return Response(locales.drawn(ask(question).raw.decode()), content_type=SVG, headers=_POLICY)
