"""What is served: the contract's models, joined with what is registered and what each artefact claims."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from api import times
from api.calls import Answer, Call
from api.composition import ModelContract
from db.versions import Alias, Registered
from models.figures import Actuals
from models.manifest import BadManifest, FeatureProfile, Manifest, read

log = structlog.get_logger()
CHAMPION = "champion"


class ModelUnknown(Exception):
    """The contract has no such model, or no such version of it is registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Reads models and versions; features come from the contract, how good they are from the manifests."""

    models: Mapping[str, ModelContract]
    registered: Callable[[], list[Registered]]
    aliases: Callable[[], list[Alias]]
    store: Path

    def search(self, _call: Call) -> Answer:
        """List every model of the contract."""
        registered, aliases = self.registered(), self.aliases()
        served = [self._served(model, registered, aliases) for _, model in sorted(self.models.items())]
        return Answer(content={"models": [each.summary() for each in served]})

    def read(self, call: Call) -> Answer:
        """Describe one model."""
        served = self._find(call)
        model = served.contract
        content = {
            **served.summary(),
            "description": model.description,
            "features": [_feature(name, schema) for name, schema in model.features.items()],
            "output": {name.removeprefix("x-"): value for name, value in model.output.items()},
            "aliases": dict(served.aliases),
            "versions": [each.version for each in served.versions],
        }
        return Answer(content=content)

    def versions(self, call: Call) -> Answer:
        """List a model's registered versions, newest first."""
        served = self._find(call)
        found = [served.version(each) for each in served.versions]
        return Answer(content={"model": served.contract.model, "versions": found})

    def version(self, call: Call) -> Answer:
        """Show one version."""
        served = self._find(call)
        for each in served.versions:
            if each.version == call.path["version"]:
                manifest = manifest_of(self.store, each)
                return Answer(content=served.version(each) | ({} if manifest is None else held_out(manifest)))
        raise ModelUnknown

    def _find(self, call: Call) -> _Served:
        try:
            model = self.models[call.path["model"]]
        except KeyError:
            raise ModelUnknown from None
        return self._served(model, self.registered(), self.aliases())

    def _served(self, model: ModelContract, registered: list[Registered], aliases: list[Alias]) -> _Served:
        return _Served(
            contract=model,
            versions=[each for each in reversed(registered) if each.model == model.model],
            aliases={each.alias: each.version for each in aliases if each.model == model.model},
            store=self.store,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """One model of the contract with what is registered for it, versions newest first."""

    contract: ModelContract
    versions: list[Registered]
    aliases: Mapping[str, str]
    store: Path

    def summary(self) -> dict[str, Any]:
        model = self.contract
        content: dict[str, Any] = {"model": model.model, "title": model.title, "kind": model.output["kind"]}
        for each in self.versions:
            if each.version == self.aliases.get(CHAMPION):
                content["champion"] = each.version
                manifest = manifest_of(self.store, each)
                content |= {} if manifest is None else {"metrics": dict(manifest.metrics)}
        return content

    def version(self, registered: Registered) -> dict[str, Any]:
        content: dict[str, Any] = {
            "model": registered.model,
            "version": registered.version,
            "digest": registered.digest,
            "registered_at": times.text(registered.registered_at_us),
            "aliases": sorted(
                name for name, version in self.aliases.items() if version == registered.version
            ),
        }
        manifest = manifest_of(self.store, registered)
        return content if manifest is None else content | _claims(manifest)


@functools.lru_cache(maxsize=1024)
def manifest_of(store: Path, registered: Registered) -> Manifest | None:
    """Read the manifest that was registered; without it the version is shown without its claims."""
    if registered.manifest is None:
        return None
    try:
        return read(store / registered.model / registered.version / "manifest.json", registered.manifest)
    except BadManifest as bad:
        log.warning(
            "manifest unreadable", model=registered.model, version=registered.version, reason=str(bad)
        )
        return None


def held_out(manifest: Manifest) -> dict[str, Any]:
    """Show how good a version was on the rows held out of its training, beyond numbers, where it was drawn."""
    content: dict[str, Any] = {}
    if (found := manifest.calibration) is not None:
        groups = zip(found.predicted, found.observed, found.counts, strict=True)
        content["calibration"] = [
            {"predicted": said, "observed": share, "n": count} for said, share, count in groups
        ]
    if manifest.curve is not None:
        content["roc_curve"] = asdict(manifest.curve)
    if manifest.actuals is not None:
        content["actuals"] = groups_of(manifest.actuals)
    return content


def groups_of(found: Actuals) -> list[dict[str, Any]]:
    """Show answers beside what happened, group by group, the least answer first."""
    of_each = {("n" if name == "counts" else name): values for name, values in asdict(found).items()}
    return [dict(zip(of_each, group, strict=True)) for group in zip(*of_each.values(), strict=True)]


def _claims(manifest: Manifest) -> dict[str, Any]:
    data = manifest.data
    return {
        "estimator": manifest.estimator,
        "libraries": dict(manifest.libraries),
        "metrics": dict(manifest.metrics),
        "data": {
            "name": data.name,
            "source": data.source,
            "rows": data.rows,
            "train_rows": data.train_rows,
            "test_rows": data.test_rows,
            "sha256": data.sha256,
        },
        "trained_at": manifest.trained_at,
        "features": [_profile(each) for each in manifest.features],
    }


def _profile(profile: FeatureProfile) -> dict[str, Any]:
    content: dict[str, Any] = {"name": profile.name, "kind": profile.kind, "missing": profile.missing}
    content["histogram"] = {
        "edges": list(profile.histogram.edges),
        "counts": list(profile.histogram.counts),
    }
    if profile.categories is not None:
        content["categories"] = list(profile.categories)
    if profile.low is not None:
        content |= {"low": profile.low, "high": profile.high}
    if profile.importance is not None:
        content["importance"] = profile.importance
    return content


def _feature(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"name": name, "description": schema["description"].strip()}
    if "x-unit" in schema:
        content["unit"] = schema["x-unit"]
    content["schema"] = {
        key: value for key, value in schema.items() if key != "description" and not key.startswith("x-")
    }
    return content
