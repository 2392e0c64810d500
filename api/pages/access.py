"""With whose token a model's pages ask: of who signed in, or, for models opened to the public, of a client for that.

The public client's secret is read from its file by the door and goes to `/oauth/token` inside the process only.
Whoever has the address of an answer that was given in public can read it: it belongs to that client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from api.limits import Limit
from api.pages import session
from api.pages.calling import Question, ask
from api.readings import SettingRefused
from api.settings import Settings

PUBLIC_CLIENT = "public-forms"
PER_MINUTE = 60
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks at a model's pages."""

    token: str
    scopes: frozenset[str]
    is_public: bool = False


class Access:
    """Finds the visitor of a model's pages; of the public, so many a minute may ask, counted by each door."""

    def __init__(
        self, settings: Settings, models: Collection[str], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the forms that the operator names; raises SettingRefused for one of a model there is not."""
        self.public = _opened(settings.public_forms)
        if unknown := set(self.public) - set(models):
            allowed = f"models of the contract: {', '.join(sorted(models))}"
            raise SettingRefused("ONRECORD_PUBLIC_FORMS", ", ".join(sorted(unknown)), allowed)
        self._file: Path = settings.client_file(PUBLIC_CLIENT)
        self._limits = {name: Limit("predictions", rate) for name, rate in self.public.items()}
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._known: tuple[float, Visitor] | None = None

    def visitor(self, model: str) -> Visitor:
        """Return who asks about a model; raises SignInNeeded."""
        signed = session.signed()
        if signed is not None:
            return Visitor(token=signed.token, scopes=signed.scopes)
        if model not in self.public:
            raise session.SignInNeeded
        with self._lock:
            if self._known is None or self._known[0] <= self._clock_s():
                self._known = self._signed_in()
            return self._known[1]

    def count(self, visitor: Visitor, model: str) -> None:
        """Count a prediction of the public; raises TooManyRequests where it is one too many."""
        if not visitor.is_public:
            return
        with self._lock:
            over = self._limits[model].over(PUBLIC_CLIENT, self._clock_s())
        if over is not None:
            said = f"Too many people ask right now. Load this page again in {over.wait_s} seconds."
            raise TooManyRequests(said, retry_after=over.wait_s)

    def _signed_in(self) -> tuple[float, Visitor]:
        try:
            client: dict[str, Any] = orjson.loads(self._file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as missing:
            said = "The client of public forms is missing; `python -m api setup` makes it."
            raise ServiceUnavailable(said) from missing
        form = {name: client[name] for name in ("client_id", "client_secret")}
        body = urlencode({"grant_type": "client_credentials", **form}).encode()
        answer = ask(Question(method="POST", path="/oauth/token", body=body, headers=_FORM)).content
        until = self._clock_s() + answer["expires_in"] - 2 * session.SPARE_S
        scopes = frozenset(answer["scope"].split())
        return until, Visitor(token=answer["access_token"], scopes=scopes, is_public=True)


def _opened(text: str) -> dict[str, int]:
    """Read which models are open, and how many predictions a minute are taken for each."""
    pairs = (each.strip().partition(":") for each in text.split(",") if each.strip())
    return {name: int(rate or PER_MINUTE) for name, _, rate in pairs}
