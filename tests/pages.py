"""A person in front of the pages, without a browser: keeps cookies, sends the forms pages show, follows nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from tests.service import Service

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "en"}


class Person:
    """Looks at pages and sends forms; nothing is followed unless asked."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.http = httpx.Client(base_url=service.url, headers=BROWSER, timeout=60)

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def look(self, path: str, **headers: str) -> httpx.Response:
        """Open an address."""
        return self.http.get(path, headers=headers)

    def send(self, path: str, form: Mapping[str, str], seen: str | None = None) -> httpx.Response:
        """Send a form with the token of the page it stands on (`seen`, or the same address)."""
        token = hidden(self.look(seen or path).text, "csrf_token")
        return self.http.post(path, data={"csrf_token": token, **form})

    def sign_in(self, name: str = "demo", next: str = "/") -> httpx.Response:  # as the address says it
        """Sign in as one of the two clients that setup made."""
        client = json.loads((self.service.var / "clients" / f"{name}.json").read_text())
        form = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
        answer = self.send(str(httpx.URL("/sign-in", params={"next": next})), form)
        assert answer.status_code == 303, answer.text
        return answer

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Go where an answer leads."""
        return self.look(self.place(answer))

    def place(self, answer: httpx.Response) -> str:
        """Say where an answer leads, without the service's own address."""
        place = urlsplit(answer.headers["Location"])
        assert place.netloc == ""
        return f"{place.path}?{place.query}" if place.query else place.path


def hidden(page: str, name: str) -> str:
    """Read the value of a hidden field of a page."""
    found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', page)
    assert found is not None, page
    return html.unescape(found[1])
