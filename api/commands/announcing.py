"""What `serve` says once the service answers: where it is, and three lines to paste."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

from rich.console import Console

from api.settings import Settings

PATIENCE_S = 30.0
LINES = """\
TOKEN=$(curl -s -K {file} -d grant_type=client_credentials {url}/oauth/token \
| sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
-d '{{"instances":[{{"age":50,"reference":"house-1"}}]}}' {url}/v1/models/housing/predictions
curl -s -H "Authorization: Bearer $TOKEN" '{url}/v1/predictions?reference=house-1&limit=1'"""


class Announcement:
    """Waits, tick by tick, for the service to be ready, and says so once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._until = time.monotonic() + PATIENCE_S
        self._is_done = self._is_late = False
        self._out = Console(soft_wrap=True, highlight=False, emoji=False)

    def tick(self) -> None:
        """Ask once; announce when the answer is yes, and complain once when that takes long."""
        if self._is_done:
            return
        ready = self._ready()
        self._is_done = ready == ""
        if self._is_done:
            self._announce()
        elif not self._is_late and time.monotonic() > self._until:
            self._is_late = True
            self._out.print(f"not ready after {PATIENCE_S:.0f} s: {ready}; the log says why", markup=False)

    def _ready(self) -> str:
        connection = http.client.HTTPConnection(urlsplit(self._settings.local_url).netloc, timeout=1.0)
        try:
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            content = answer.read(4096).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as refused:
            return f"no door answers ({refused})"
        finally:
            connection.close()
        return "" if answer.status == 200 else content

    def _announce(self) -> None:
        url = self._settings.local_url
        self._out.print(f"OnRecord answers at [bold]{url}[/bold]")
        if self._settings.docs:
            self._out.print(f"the console is at  [bold]{url}/docs[/bold]")
        file = self._settings.client_file("demo").with_suffix(".curl")
        if file.exists():
            self._out.print("get a token, predict the price of a house, look it up:\n")
            self._out.print(LINES.format(file=file, url=url) + "\n", markup=False)
