"""A token for scripts and people, asked of the running service like any caller would."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from api.refusals import CommandRefused
from api.settings import Settings

WITHIN_S = 10.0


def token(settings: Settings, file: Path | None, scope: str | None) -> str:
    """Ask for an access token with a client file (the demo caller's unless told).

    Raises:
        CommandRefused: no such file, no service, or the service says no.
    """
    client = _client(file or settings.client_file("demo"))
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    url = f"{settings.local_url}/oauth/token"
    pair = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310  # http, and our own service
        url, urllib.parse.urlencode(form).encode(), {"Authorization": f"Basic {pair}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310  # see above
            return str(json.load(answer)["access_token"])
    except urllib.error.HTTPError as refused:
        reason = refused.read(2000).decode("utf-8", "replace")
        raise CommandRefused(f"{url} gives no token: {refused.code} {reason}") from refused
    except OSError as refused:
        raise CommandRefused(f"nobody answers at {url} ({refused}); start: python -m api serve") from refused


def _client(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as missing:
        raise CommandRefused(f"{path} is missing; run: python -m api setup") from missing
    except ValueError as broken:
        raise CommandRefused(
            f"{path} is not JSON; create a client anew: python -m api client add"
        ) from broken
    return content
