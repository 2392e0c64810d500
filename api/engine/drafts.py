"""A draft: what is to become a record, on disk meanwhile, so that it outlives the process that works on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

from api.keys import sync_folder

log = structlog.get_logger()


class Draft:
    """One file, whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any] | None:
        """Return what was written last; None where nothing is there, or what is there is no draft of ours."""
        try:
            return dict(orjson.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as strange:
            log.warning("draft-not-readable", path=str(self._path), reason=str(strange))
            return None

    def write(self, content: Mapping[str, Any]) -> None:
        """Keep it in place of what was there, on disk when this returns; raises OSError."""
        fresh = self._path.with_name(f"{self._path.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(dict(content)))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        sync_folder(self._path.parent)

    def remove(self) -> None:
        """Forget it."""
        self._path.unlink(missing_ok=True)
