"""
The store of trained versions: what is in it, and how one of them becomes a model that may answer.

`store/<model>/<version>/{model.pkl, manifest.json}`, a `model.onnx` where its twin is one, and a `signature` where
publishers are configured. Nothing is taken on trust but the two digests that were registered; every reason to refuse is
named, and a refused version leaves the ones already serving alone.
"""

import hashlib
import hmac
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from math import isclose
from pathlib import Path
from typing import Any

from models import artefact, manifest, signing
from models.files import FileRefused, opened, read_once
from models.manifest import BadManifest, Manifest
from models.model import BadFeatures, Model, PredictionFailed, answer

# The largest artefact worth keeping in the memory of one engine; ours have 10 to 300 kB.
LARGEST_BYTES = 256_000_000

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# How much of a version must agree with the running one: an array written by numpy 2.4.1 reads under 2.4.6, an
# estimator only under the scikit-learn that wrote it ("unsupported and inadvisable" otherwise), and Python's minor
# version does not reach into a pickle of library classes.
_PARTS_COMPARED = {"python": 1, "scikit-learn": 3, "numpy": 2, "scipy": 2, "pandas": 2, "onnxruntime": 2}


class ModelRefused(Exception):
    """A version that is not served; `reason` says what was expected, what came, and what to do."""

    def __init__(self, model: str, version: str, reason: str) -> None:
        super().__init__(f"model {model!r} version {version!r} is refused: {reason}")
        self.model = model
        self.version = version
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked of a version besides its pickle's digest."""

    manifest: str | None = (
        None  # the registered SHA-256 of manifest.json; None, before registration, believes it
    )
    publishers: tuple[
        bytes, ...
    ] = ()  # public keys, one of which must have signed; none: no signature is asked for
    largest_bytes: int = LARGEST_BYTES
    twin: bool = True  # off: no file of a twin is looked at


_PLAIN = Terms()


class _Refusal(Exception):
    """A reason found deep inside `load`, which knows whose it is."""


def listing(store: Path) -> list[tuple[str, str]]:
    """Name every (model, version) whose folder holds a manifest, sorted; whether it loads is another question."""
    folders = (manifest.parent for manifest in store.glob("*/*/manifest.json"))
    named = ((folder.parent.name, folder.name) for folder in folders)
    return sorted(pair for pair in named if all(map(NAME.fullmatch, pair)))


def claimed(store: Path, model: str, version: str) -> tuple[str, str]:
    """
    Read what would be registered: the digest that the manifest claims for its pickle, and the manifest's own.

    Raises:
        ModelRefused: there is no such version, or its manifest cannot be read.
    """
    try:
        _insist_on_names(model, version)
        with opened(store, model, version) as folder:
            content = _read_manifest(folder, None)
        return manifest.parse(content).digest, hashlib.sha256(content).hexdigest()
    except (_Refusal, BadManifest, FileRefused) as reason:
        raise ModelRefused(model, version, str(reason)) from reason


def load(store: Path, model: str, version: str, digest: str | None, terms: Terms = _PLAIN) -> Model:
    """
    Load one version, or refuse it. What is returned has reproduced its golden answers in this process.

    `digest` is the registered SHA-256 of its pickle; None, before registration, believes the manifest's. A twin whose
    file is not the manifest's is a reason to refuse; one that does not answer as it should here is left out, and
    `twinless` says so.
    Changes process-wide warning filters meanwhile: call it from one thread.

    Raises:
        ModelRefused: naming the first thing that does not hold.
    """
    try:
        _insist_on_names(model, version)
        with opened(store, model, version) as folder:
            content = _read_manifest(folder, terms.manifest)
            claims = manifest.parse(content)
            _insist_on_identity(claims, model, version)
            if terms.publishers:
                _insist_on_signature(folder, claims, content, terms.publishers)
            _insist_on_libraries(claims.libraries)
            blob = _read_pickle(folder, claims, digest, terms.largest_bytes)
            graph = _read_graph(folder, claims, terms.largest_bytes) if terms.twin else None
        loaded = Model(claims, artefact.load(blob, claims.globals))
        _insist_on_estimator(claims, loaded.estimator)
        _insist_on_golden(loaded)
        if terms.twin:
            _join(loaded, graph)
    except (_Refusal, BadManifest, FileRefused, signing.SignatureRefused, artefact.PickleRefused) as reason:
        raise ModelRefused(model, version, str(reason)) from reason
    return loaded


def _insist_on_names(model: str, version: str) -> None:
    if not (NAME.fullmatch(model) and NAME.fullmatch(version)):
        raise _Refusal("a name or version is lower-case letters, digits, '.', '_' and '-', the first no sign")


def _read_manifest(folder: int, digest: str | None) -> bytes:
    content = read_once(Path("manifest.json"), at_most=manifest.LARGEST_BYTES, folder=folder)
    manifest.insist_on_digest(content, digest)
    return content


def _insist_on_signature(
    folder: int, claims: Manifest, content: bytes, publishers: tuple[bytes, ...]
) -> None:
    statement = signing.Statement(
        model=claims.model,
        version=claims.version,
        pickle=claims.digest,
        manifest=hashlib.sha256(content).hexdigest(),
    )
    envelope = read_once(Path(signing.FILE), at_most=signing.LARGEST_BYTES, folder=folder)
    signing.insist(envelope, statement, publishers)


def _insist_on_identity(claims: Manifest, model: str, version: str) -> None:
    if (claims.model, claims.version) != (model, version):
        raise _Refusal(
            f"its manifest is of model {claims.model!r} version {claims.version!r}; restore the right folder"
        )


def _insist_on_libraries(trained: Mapping[str, str]) -> None:
    if missing := {"python", "scikit-learn", "numpy", "scipy"} - set(trained):
        raise _Refusal(f"its manifest does not name the version of {', '.join(sorted(missing))}; retrain it")
    if unknown := [library for library in trained if library not in _PARTS_COMPARED]:
        raise _Refusal(f"its manifest names the library {unknown[0]!r}, which is not compared; retrain it")
    for library, version, running in differing(trained):
        raise _Refusal(
            f"it was trained with {library} {version}, this is {running}; install that or retrain it"
        )


def differing(libraries: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Name (library, version, running version) wherever what runs here is not near enough to these versions."""
    for library, version in libraries.items():
        running, parts = installed(library), _PARTS_COMPARED.get(library)
        if version.split(".")[:parts] != running.split(".")[:parts]:
            yield library, version, running


def installed(library: str) -> str:
    """Name the version that runs here; of a library that is absent, "none"."""
    if library == "python":
        return platform.python_version()
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "none"


def process() -> dict[str, str]:
    """Describe the interpreter and the machine's kind, for replays that come out differently elsewhere."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
    }


def _read_pickle(folder: int, claims: Manifest, digest: str | None, largest_bytes: int) -> bytes:
    blob, came = _read_artefact(folder, "model.pkl", claims.size_bytes, largest_bytes)
    if digest is not None and not hmac.compare_digest(came, digest):
        raise _Refusal(
            f"model.pkl has the digest {came}, registered is {digest}; restore the registered file"
        )
    if not hmac.compare_digest(came, claims.digest):
        raise _Refusal(
            f"model.pkl has the digest {came}, its manifest says {claims.digest}; restore the pair"
        )
    return blob


def _read_graph(folder: int, claims: Manifest, largest_bytes: int) -> bytes | None:
    """Read the file of a twin; a file that no manifest speaks of is never opened."""
    twin = claims.twin
    if twin is None or twin.way != "onnx":
        return None
    blob, came = _read_artefact(folder, "model.onnx", twin.size_bytes, largest_bytes)
    if not hmac.compare_digest(came, str(twin.digest)):
        raise _Refusal(
            f"model.onnx has the digest {came}, its manifest says {twin.digest}; restore the registered file, "
            "or set ONRECORD_TWIN=off to serve from the pickle alone"
        )
    return blob


def _read_artefact(folder: int, name: str, size_bytes: int, largest_bytes: int) -> tuple[bytes, str]:
    """Read a file of the size that its manifest announces, with its digest."""
    if size_bytes > largest_bytes:
        raise _Refusal(
            f"its manifest announces {size_bytes} bytes, at most {largest_bytes} are loaded; "
            "train a smaller one, or raise ONRECORD_LARGEST_ARTEFACT_BYTES"
        )
    blob = read_once(Path(name), at_most=size_bytes, folder=folder)
    return blob, hashlib.sha256(blob).hexdigest()


def _join(loaded: Model, graph: bytes | None) -> None:
    """Let a version have its twin, if that still answers the golden instances as the pickle does."""
    from models import twin

    try:
        made = twin.made(loaded, graph)
        twin.insist_on_golden(loaded, made)
    except twin.TwinRefused as refused:
        loaded.twinless = str(refused)
    else:
        loaded.twin, loaded.twinless = made, ""


def _insist_on_estimator(claims: Manifest, estimator: Any) -> None:
    came = qualified_name(estimator)
    if came != claims.estimator:
        raise _Refusal(
            f"its manifest announces a {claims.estimator}, model.pkl holds a {came}; restore the pair"
        )
    labels = [str(label) for label in getattr(estimator, "classes_", ())]
    if labels != list(claims.target.labels or ()):
        raise _Refusal(
            "the labels of its manifest are not the estimator's classes_ in their order; retrain it"
        )


def qualified_name(estimator: object) -> str:
    """Name the class of an estimator with its module, as manifests do."""
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


def _insist_on_golden(model: Model) -> None:
    golden = model.manifest.golden
    try:
        predictions = model.predict(model.check(golden.instances))
    except (BadFeatures, PredictionFailed) as error:
        raise _Refusal(f"it cannot answer its golden instances ({error}); retrain it") from error
    answers = [answer(prediction, model.manifest.target) for prediction in predictions]
    if len(answers) != len(golden.outputs):
        raise _Refusal(
            f"its manifest has {len(answers)} golden instances, {len(golden.outputs)} outputs; retrain it"
        )
    for place, (expected, came) in enumerate(zip(golden.outputs, answers, strict=True)):
        if not agree(expected, came, golden.tolerance):
            raise _Refusal(
                f"golden instance {place} is not answered as in training (within {golden.tolerance}); "
                "retrain it on the libraries that run here"
            )


def agree(expected: object, came: object, tolerance: float) -> bool:
    """True when two answers have the same names and labels, and numbers no further apart than the tolerance."""
    if isinstance(expected, Mapping) and isinstance(came, Mapping):
        return expected.keys() == came.keys() and all(
            agree(expected[k], came[k], tolerance) for k in expected
        )
    if isinstance(expected, float) and isinstance(came, float):
        return isclose(expected, came, rel_tol=tolerance, abs_tol=tolerance)
    return expected == came
