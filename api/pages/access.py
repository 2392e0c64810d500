"""With whose token a model's pages ask: of who signed in, or, for models opened to the public, of a client for that.

The public client's secret is read from its file by the door, whenever it needs a token: a new file counts at once. A
token that is refused (voided, or of a key that was removed) is replaced once. Whoever has the address of an answer that
was given in public can read it: it belongs to that client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import structlog
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from api.limits import Limit
from api.pages import granting, session
from api.pages.calling import Answered, ApiRefused, Question, ask
from api.pages.granting import Granted, GrantRefused
from api.problems import RequestRefused
from api.readings import SettingRefused
from api.settings import Settings
from db.clients import SCOPES

PUBLIC_CLIENT = "public-forms"
PER_MINUTE = 60
NEEDED = frozenset({"models:read", "predict", "predictions:read"})  # by strangers
CLOSED_S = 5  # so long nobody tries again to sign a client in that was refused
TURN_S = 2.0  # so long a visitor waits while another one's page gets the token
log = structlog.get_logger()


class FormClosed(ServiceUnavailable):
    """The client of public forms gets no token that is believed."""

    def __init__(self) -> None:
        said = "This form is closed at the moment. Nothing that you entered was sent. Try again later, or sign in."
        super().__init__(said, retry_after=CLOSED_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks at a model's pages."""

    ask: Callable[[Question], Answered]
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
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._known: tuple[float, Granted] | None = None
        self._refused = float("-inf"), b""  # until when, and what the file held

    def visitor(self, model: str) -> Visitor:
        """Return who asks about a model; raises SignInNeeded."""
        signed = session.signed()
        if signed is not None:
            return Visitor(
                ask=lambda question: ask(replace(question, token=signed.token)), scopes=signed.scopes
            )
        if model not in self.public:
            raise session.SignInNeeded
        scopes = frozenset(self._current().scope.split())
        return Visitor(ask=self._ask_in_public, scopes=scopes, is_public=True)

    def count(self, visitor: Visitor, model: str) -> None:
        """Count a prediction of the public; raises TooManyRequests where it is one too many."""
        if not visitor.is_public:
            return
        with self._lock:
            over = self._limits[model].over(PUBLIC_CLIENT, self._clock_s())
        if over is not None:
            said = f"Too many people ask right now. Load this page again in {over.wait_s} seconds."
            raise TooManyRequests(said, retry_after=over.wait_s)

    def _ask_in_public(self, question: Question) -> Answered:
        """Ask with the public client's token, and with a new one where that is refused; once."""
        got = self._current()
        try:
            return ask(replace(question, token=got.token))
        except ApiRefused as refused:
            if refused.status != 401:
                raise
        try:
            return ask(replace(question, token=self._current(refused=got.token).token))
        except ApiRefused as refused:
            if refused.status != 401:
                raise
            raise FormClosed from refused

    def _current(self, refused: str | None = None) -> Granted:
        """Return the token that is known, or get one where there is none, or where it was refused.

        One visitor gets it for all; while an issuer lets that one wait, the others do not.
        """
        if (known := self._held(refused)) is not None:
            return known
        if not self._turn.acquire(timeout=TURN_S):
            raise FormClosed
        try:
            return self._held(refused) or self._renewed()
        finally:
            self._turn.release()

    def _held(self, refused: str | None) -> Granted | None:
        until_s, known = self._known or (0.0, None)
        return known if known and known.token != refused and self._clock_s() < until_s else None

    def _renewed(self) -> Granted:
        """Sign the client in; what its file held when it was refused is not tried again for a while."""
        now_s, self._known = self._clock_s(), None
        try:
            content = self._file.read_bytes()
        except OSError as missing:
            raise _closed(f"{self._file} cannot be read ({missing.strerror})") from missing
        until_s, tried = self._refused
        if now_s < until_s and tried == content:
            raise FormClosed
        try:
            got = self._signed_in(content)
        except FormClosed:
            self._refused = now_s + CLOSED_S, content
            raise
        self._known = now_s + got.expires_in - 2 * session.SPARE_S, got
        return got

    def _signed_in(self, content: bytes) -> Granted:
        try:
            client: dict[str, str] = orjson.loads(content)
            got = granting.granted(client["client_id"], client["client_secret"], is_of_pages=True)
        except (ValueError, KeyError, TypeError) as wrong:
            raise _closed(f"{self._file} is no client; run: python -m api setup") from wrong
        except (ApiRefused, GrantRefused) as refused:
            if isinstance(refused, ApiRefused) and refused.status >= 500:
                raise  # nothing is wrong with the client: the service says when to come again
            raise _closed(str(refused) or f"{self._file} is of a client that gets no token") from refused
        except RequestRefused as early:
            raise _closed(early.fault.detail) from early
        if beyond := (SCOPES & set(got.scope.split())) - NEEDED:
            more = ", ".join(sorted(beyond))
            raise _closed(f"the client of {self._file} may do more than strangers should: {more}")
        return got


def _closed(reason: str) -> FormClosed:
    """Tell the operator why, and the visitor that."""
    log.error("public-forms-closed", reason=reason)
    return FormClosed()


def _opened(text: str) -> dict[str, int]:
    """Read which models are open, and how many predictions a minute are taken for each."""
    pairs = (each.strip().partition(":") for each in text.split(",") if each.strip())
    return {name: int(rate or PER_MINUTE) for name, _, rate in pairs}
