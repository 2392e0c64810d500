"""The file in which an audit says how far it came, so that the next one goes on from there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from api.keys import sync_folder
from api.refusals import CommandRefused
from db import auditing_resume
from db.auditing_resume import Reached, ReachedRefused

if TYPE_CHECKING:
    from db.notes import VerifierKey

_EVERY_S = 1.0  # a killed audit does this much again


class StateFile:
    """Reads the file once and writes it as the audit goes on; without a path it does neither.

    One that is begun `anew` is not read, and one that is written `at_end` only by `flush`.
    """

    def __init__(
        self,
        path: Path | None,
        key: VerifierKey,
        mac_key: bytes | None,
        *,
        anew: bool = False,
        at_end: bool = False,
    ) -> None:
        self._path, self._key, self._mac_key = path, key, mac_key
        self.reached = Reached() if anew else self._read()
        self._written, self._next_s = self.reached, float("inf") if at_end else 0.0

    def keep(self, reached: Reached) -> None:
        """Take note of how far the audit came; it is on disk within a second, or by `flush`."""
        self.reached = reached
        if time.monotonic() >= self._next_s:
            self.flush()

    def flush(self) -> None:
        """Write what was noted last, whole or not at all.

        Raises:
            CommandRefused: it cannot be written.
        """
        if self._path is None or self._written == self.reached:
            return
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(auditing_resume.encode(self.reached, self._key, self._mac_key))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as refused:
            draft.unlink(missing_ok=True)
            raise CommandRefused(f"--state {self._path} cannot be written: {refused.strerror}") from refused
        self._written, self._next_s = self.reached, time.monotonic() + _EVERY_S

    def forget(self) -> None:
        """Remove it: nothing is to go on from there."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> Reached:
        if self._path is None or not self._path.exists():
            return Reached()
        try:
            return auditing_resume.decode(self._path.read_bytes(), self._key, self._mac_key)
        except OSError as refused:
            raise CommandRefused(f"--state {self._path} cannot be read: {refused.strerror}") from refused
        except ReachedRefused as refused:
            cure = "name another file, or remove this one to verify everything"
            raise CommandRefused(f"--state {self._path} {refused}; {cure}") from refused
