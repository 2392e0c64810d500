"""The store as this service sees it: versions are loaded under their registered digest, one at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.model import Model


class NoArtefact(Exception):
    """The store holds no such version, or not one whose manifest can be read."""


class Loading:
    """Reads from the store; safe from any thread. A command that loads nothing never imports scikit-learn."""

    def __init__(self, store: Path) -> None:
        self._store = store
        # Loading turns warnings into errors for the whole process while it lasts: two at once would undo that.
        self._one_at_a_time = threading.Lock()

    def load(self, model: str, version: str, digest: str) -> Model:
        """Load a version whose bytes have this digest, proved by its golden answers; raises ModelRefused."""
        from models import registry

        with self._one_at_a_time:
            return registry.load(self._store, model, version, digest)

    def listing(self) -> list[tuple[str, str]]:
        """Name the (model, version) folders of the store, oldest version of each model first."""
        from models import registry

        return sorted(registry.listing(self._store), key=lambda each: (each[0], _order(each[1])))

    def digest(self, model: str, version: str) -> str:
        """Read the digest that a version's manifest claims.

        Raises:
            NoArtefact: the store does not hold it, or its manifest is broken.
        """
        from models import manifest

        # Asked of the listing, so that a name can never become a path outside the store.
        if (model, version) not in self.listing():
            raise NoArtefact(f"the store has no version {version} of {model}")
        try:
            return manifest.read(self._store / model / version / "manifest.json").digest
        except manifest.BadManifest as refused:
            raise NoArtefact(f"version {version} of {model}: {refused}") from refused


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)
