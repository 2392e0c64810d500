"""The store as this service sees it: versions are loaded as they were registered, one at a time.

What has not been registered or promoted yet is tried out in a process of its own first, so that no artefact can
take down the one that answers.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from api.settings import Settings, bare_environment

if TYPE_CHECKING:
    from db.versions import Registered
    from models.elsewhere import Elsewhere
    from models.model import Model
    from models.proving import Prover, Question
    from models.registry import Terms

log = structlog.get_logger()


class NoArtefact(Exception):
    """The store holds no such version, or not one whose manifest can be read."""


class Loading:
    """Reads from the store; safe from any thread. A command that loads nothing never imports scikit-learn.

    Raises PublishersRefused where versions must be signed and the keys of those who may cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._store, self._largest_bytes = settings.store, settings.largest_artefact_bytes
        self._twin, self._moves = settings.twin, settings.elsewhere
        self._publishers = () if settings.publishers is None else _publishers(settings.publishers)
        # Loading turns warnings into errors for the whole process while it lasts: two at once would undo that.
        self._one_at_a_time = threading.Lock()
        self._prover: Prover | None = None
        self._one_proof_at_a_time = threading.Lock()
        self._elsewhere: list[Elsewhere] = []
        # More processes than cores gain nothing, and whoever asks for one version after another pays for none of them.
        self._places = threading.Semaphore(os.cpu_count() or 1)

    def load(self, found: Registered) -> Model:
        """Load a version whose files are those registered, proved by its golden answers; raises ModelRefused."""
        from models import registry

        terms = replace(self._terms(found), twin=self._twin)
        with self._one_at_a_time:
            loaded = registry.load(self._store, found.model, found.version, found.digest, terms)
        return self._moved(loaded, found) if self._moves else loaded

    def end(self) -> None:
        """End the processes that pickles are asked in."""
        for each in self._elsewhere:
            each.end()

    def prove(self, found: Registered) -> None:
        """See in another process that a version loads and its twin is one, whether twins answer here or not.

        Keeps that process for the next; raises ModelRefused.
        """
        from models import proving

        with self._one_proof_at_a_time:
            self._prover = self._prover or proving.Prover(bare_environment())
            self._prover.prove(self._question(found, self._terms(found)))

    def rest(self) -> None:
        """End the process that versions are tried out in, once nothing more is to be proved for now."""
        with self._one_proof_at_a_time:
            if self._prover is not None:
                self._prover.end()

    def listing(self) -> list[tuple[str, str]]:
        """Name the (model, version) folders of the store, oldest version of each model first."""
        from models import registry

        return sorted(registry.listing(self._store), key=lambda each: (each[0], _order(each[1])))

    def digests(self, model: str, version: str) -> tuple[str, str]:
        """Read the digest that a version's manifest claims for its pickle, and the manifest's own.

        Raises:
            NoArtefact: the store does not hold it, or its manifest is broken.
        """
        from models import registry

        # Asked of the listing, so that a name can never become a path outside the store.
        if (model, version) not in self.listing():
            raise NoArtefact(f"the store has no version {version} of {model}")
        try:
            return registry.claimed(self._store, model, version)
        except registry.ModelRefused as refused:
            raise NoArtefact(f"version {version} of {model}: {refused.reason}") from refused

    def _moved(self, loaded: Model, found: Registered) -> Model:
        """Have a version's pickle asked in a process of its own, once it is asked much."""
        from models import elsewhere

        question = self._question(found, replace(self._terms(found), twin=False))
        told = log.bind(model=found.model, version=found.version)
        asked = elsewhere.Elsewhere(question, bare_environment(), loaded.estimate, self._places, told)
        self._elsewhere.append(asked)
        return elsewhere.moved(loaded, asked)

    def _question(self, found: Registered, terms: Terms) -> Question:
        from models.proving import Question

        return Question(
            store=self._store, model=found.model, version=found.version, digest=found.digest, terms=terms
        )

    def _terms(self, found: Registered) -> Terms:
        from models.registry import ModelRefused, Terms

        if found.manifest is None:
            raise ModelRefused(
                found.model,
                found.version,
                "it was registered before manifests were; register it again: "
                f"python -m api model register {found.model} {found.version}",
            )
        return Terms(manifest=found.manifest, publishers=self._publishers, largest_bytes=self._largest_bytes)


def _publishers(path: Path) -> tuple[bytes, ...]:
    from models import signing

    return signing.publishers(path)


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)
